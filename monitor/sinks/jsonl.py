"""Every event as one JSON line, appended to a file or put on standard output."""

import sys
from pathlib import Path
from typing import IO

from monitor.errors import ConfigError
from monitor.protocol.mapping import event_line
from monitor.sinks.base import Sink
from monitor.sinks.line_writer import LineWriter
from monitor.types import Event


class EventFileSink(Sink):
    """The sink behind `wakeful run --events`.

    Args:
        path: a file to append to; `-` is standard output.

    Raises:
        ConfigError: the file cannot be opened.
    """

    name = "events"

    def __init__(self, path: str) -> None:
        try:
            self._file: IO[str] = sys.stdout if path == "-" else _appending(Path(path))
        except OSError as error:
            raise ConfigError(f"--events {path}: cannot be opened ({error.strerror})") from None
        self._lines = LineWriter("events", self._write, finish=self._finish)

    def on_event(self, event: Event) -> None:
        """Append the event."""
        self._lines.put(event_line(event))

    def trouble(self) -> str | None:
        """What is wrong with the file."""
        return self._lines.trouble()

    def close(self) -> None:
        """Write what is waiting."""
        self._lines.close()

    def _write(self, lines: list[str]) -> None:
        self._file.write("".join(f"{line}\n" for line in lines))
        self._file.flush()

    def _finish(self) -> None:
        if self._file is not sys.stdout:
            self._file.close()


def _appending(path: Path) -> IO[str]:
    return path.open("a", encoding="utf-8")
