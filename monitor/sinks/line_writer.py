"""Lines written by a thread of their own, so that a slow disk or reader holds up nobody."""

import threading
from collections import deque
from collections.abc import Callable
from functools import partial

import structlog

log = structlog.get_logger(__name__)


class LineWriter:
    """A bounded queue in front of something slow.

    Args:
        name: of the thread and in the log.
        write: called with a batch of lines; may raise OSError, then the batch is lost and told.
        idle: called about once a second, to flush.
        finish: called at the end.
        limit: lines that may wait; beyond it new ones are dropped and counted.
    """

    def __init__(
        self,
        name: str,
        write: Callable[[list[str]], None],
        *,
        idle: Callable[[], None] = lambda: None,
        finish: Callable[[], None] = lambda: None,
        limit: int = 2_000,
    ) -> None:
        self._name = name
        self._write, self._idle, self._finish = write, idle, finish
        self._limit = limit
        self._lines: deque[str] = deque()
        self._news = threading.Condition()
        self._closing = False
        self._trouble: str | None = None
        self.dropped = 0
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, line: str) -> None:
        """Take a line. Returns at once."""
        with self._news:
            if len(self._lines) >= self._limit:
                self.dropped += 1
                return
            self._lines.append(line)
            self._news.notify()

    @property
    def waiting(self) -> int:
        """Lines that are not taken up yet."""
        return len(self._lines)

    def trouble(self) -> str | None:
        """What is wrong with the writing; None when all is well."""
        if self._trouble is None and self.dropped:
            return f"{self.dropped} lines were dropped; the disk or the reader is too slow"
        return self._trouble

    def close(self) -> None:
        """Write what is waiting, for a few seconds at most."""
        with self._news:
            self._closing = True
            self._news.notify()
        self._thread.join(3.0)

    def _run(self) -> None:
        while True:
            with self._news:
                self._news.wait_for(lambda: self._lines or self._closing, 1.0)
                batch, closing = list(self._lines), self._closing
                self._lines.clear()
            self._guarded(partial(self._write, batch) if batch else self._idle)
            if closing and not self._lines:
                break
        self._guarded(self._finish)

    def _guarded(self, call: Callable[[], None]) -> None:
        try:
            call()
        except OSError as error:
            if self._trouble is None:
                log.warning("cannot be written", part=self._name, why=str(error))
            self._trouble = f"cannot be written ({error.strerror or error}); free or mend the disk"
        else:
            self._trouble = None
