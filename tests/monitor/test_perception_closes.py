"""Whatever perception opens it gives back: threads, memory, files."""

import ctypes
import gc
import sys

import numpy as np
import psutil
import pytest
import skimage.data

from monitor.config import CameraConfig, PerceptionConfig
from monitor.perception import Perception
from monitor.perception.networks import Parts
from monitor.types import Frame

# Of the allocator; an opening that leaked kept two threads and 3.5 MB.
SLACK_MB = 40


@pytest.mark.parametrize("openings", [15, pytest.param(300, marks=pytest.mark.slow)])
def test_opening_and_closing_leaves_threads_memory_and_files_where_they_were(openings: int) -> None:
    process = psutil.Process()
    image = np.ascontiguousarray(skimage.data.astronaut()[:, :, ::-1])

    def open_and_close() -> None:
        with Perception(PerceptionConfig(), CameraConfig(), Parts()) as perceive:
            assert perceive(Frame(image, 1.0, 1_780_000_001.0, 0)).ear_left is not None

    def held() -> tuple[int, int, float]:
        gc.collect()
        if sys.platform == "linux":
            ctypes.CDLL(None).malloc_trim(0)  # what is free goes back to the system
        memory_mb = process.memory_full_info().uss / 2**20
        return process.num_threads(), process.num_fds(), memory_mb

    for _ in range(3):  # what the libraries allocate once
        open_and_close()
    threads, files, memory_mb = held()
    for _ in range(openings):
        open_and_close()
    threads_now, files_now, memory_now_mb = held()
    assert threads_now <= threads
    assert files_now <= files
    assert memory_now_mb - memory_mb < SLACK_MB
