"""What several threads ask of one network at the same time, answered as one batch.

Nobody waits for company: whatever has come by the time the network is free goes together. One
thread alone speaks to the network, which CUDA graphs need besides.
"""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future

import numpy as np

from models.inference.backend import Backend, Input, Outputs

# Pictures a batch; each size is compiled or captured once. Greater ones gain nothing more.
SIZES = (1, 2, 4, 8, 16)


class Gathering:
    """Stands before a backend that serves one thread, and serves many.

    Args:
        backend: asked by one thread only, this class's own.
        example: one picture, to try every size with before the first real one.
        most: pictures that may come at once.
    """

    def __init__(self, backend: Backend, example: Input, most: int) -> None:
        self._backend = backend
        self._sizes = [size for size in SIZES if size <= most] or [1]
        self._waiting: deque[tuple[Input, Future[Outputs]]] = deque()
        self._news = threading.Condition()
        self._closed = False
        self._tried: Future[Outputs] = Future()
        self._thread = threading.Thread(
            target=self._serve, args=(example,), name="gathering", daemon=True
        )
        self._thread.start()
        self._tried.result()

    def run(self, batch: Input) -> Outputs:
        """Outputs for a batch; safe from any thread."""
        return self.start(batch)()

    def start(self, batch: Input) -> Callable[[], Outputs]:
        """Put it with what is waiting; the answer waits for its outputs."""
        asked: Future[Outputs] = Future()
        with self._news:
            if self._closed:
                raise RuntimeError("the network is closed")
            self._waiting.append((batch, asked))
            self._news.notify()
        return asked.result

    def close(self) -> None:
        """Answer what is waiting and end the thread."""
        with self._news:
            self._closed = True
            self._news.notify()
        self._thread.join()  # at once where it was closed before
        self._backend.close()

    def _serve(self, example: Input) -> None:
        try:
            for size in self._sizes:
                tried = self._backend.run(np.repeat(example, size, axis=0))
            self._tried.set_result(tried)
        except Exception as error:  # noqa: BLE001 - raised where the network was asked for
            self._tried.set_exception(error)
            return
        while batches := self._taken():
            try:
                self._answer(batches)
            except Exception as error:  # noqa: BLE001 - each asker is told
                for _, asked in batches:
                    asked.set_exception(error)

    def _taken(self) -> list[tuple[Input, Future[Outputs]]]:
        with self._news:
            self._news.wait_for(lambda: self._waiting or self._closed)
            taken = list(self._waiting)
            self._waiting.clear()
            return taken

    def _answer(self, batches: list[tuple[Input, Future[Outputs]]]) -> None:
        pictures = np.concatenate([batch for batch, _ in batches])
        parts = [self._backend.run(part) for part in self._split(pictures)]
        outputs = [np.concatenate(part) for part in zip(*parts, strict=True)]
        begin = 0
        for batch, asked in batches:
            end = begin + len(batch)
            asked.set_result([output[begin:end] for output in outputs])
            begin = end

    def _split(self, pictures: Input) -> list[Input]:
        """In sizes that were tried, the largest first: none is compiled while a driver waits."""
        parts = []
        while len(pictures):
            size = max(size for size in self._sizes if size <= len(pictures))
            parts.append(pictures[:size])
            pictures = pictures[size:]
        return parts
