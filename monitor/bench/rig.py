"""Several cameras in one process over one set of models, each in its own thread.

As fast as they go, then at a camera's rate: there a picture that a newer one has overtaken is
skipped, as from a real camera, and what counts is how late the others are.
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from monitor.bench.figures import FlatOut, Paced
from monitor.config import CameraConfig, PerceptionConfig
from monitor.perception import open_perception
from monitor.perception.networks import open_parts
from monitor.types import Frame

WARM_UP_FRAMES = 10
Result = TypeVar("Result")


class Rig:
    """A number of cameras that look at the same drive.

    Args:
        number: of cameras.
        frames: (N, H, W, 3) BGR, played again and again.
        fps: the rate of the drive's time.
    """

    def __init__(self, number: int, frames: NDArray[np.uint8], fps: float) -> None:
        config = PerceptionConfig()
        self._frames = frames
        self._fps = fps
        self._parts = open_parts(config, number)
        self._watchers = [
            open_perception(config, CameraConfig(id=f"c{k}"), parts=self._parts)
            for k in range(number)
        ]
        self._seen = [0] * number
        for which in range(number):
            for _ in range(WARM_UP_FRAMES):
                self._look(which)

    def flat_out(self, seconds: float) -> FlatOut:
        """Frames as fast as they go."""

        def watch(which: int, end_s: float) -> int:
            before = self._seen[which]
            while time.perf_counter() < end_s:
                self._look(which)
            return self._seen[which] - before

        cpu_s = time.process_time()
        frames = sum(self._together(watch, seconds))
        return {"frames": frames, "wall_s": seconds, "cpu_s": time.process_time() - cpu_s}

    def paced(self, seconds: float) -> Paced:
        """At the drive's rate; `late_ms` from a picture's time to its end, and `skipped`."""

        def watch(which: int, end_s: float) -> tuple[list[float], int]:
            late_ms, skipped = [], 0
            for due_s in self._ticks(which, end_s):
                now_s = time.perf_counter()
                if now_s - due_s > 1 / self._fps:
                    skipped += 1
                    continue
                time.sleep(max(due_s - now_s, 0.0))
                self._look(which)
                late_ms.append((time.perf_counter() - due_s) * 1000)
            return late_ms, skipped

        cpu_s = time.process_time()
        results = self._together(watch, seconds)
        return {
            "late_ms": [value for late_ms, _ in results for value in late_ms],
            "skipped": sum(skipped for _, skipped in results),
            "wall_s": seconds,
            "cpu_s": time.process_time() - cpu_s,
        }

    def close(self) -> None:
        """Let go of everything."""
        for watcher in self._watchers:
            watcher.close()

    def _ticks(self, which: int, end_s: float) -> Iterator[float]:
        # Cameras do not look at the same moment.
        due_s = time.perf_counter() + which / len(self._watchers) / self._fps
        while due_s < end_s:
            yield due_s
            due_s += 1 / self._fps

    def _look(self, which: int) -> None:
        index = self._seen[which] = self._seen[which] + 1
        image = np.asarray(self._frames[index % len(self._frames)])
        t_s = index / self._fps
        self._watchers[which](Frame(image, t_s, 1e9 + t_s, index))

    def _together(self, watch: Callable[[int, float], Result], seconds: float) -> list[Result]:
        end_s, number = time.perf_counter() + seconds, len(self._watchers)
        with ThreadPoolExecutor(number) as threads:
            return list(threads.map(watch, range(number), [end_s] * number))
