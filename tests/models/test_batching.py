"""Several threads ask one network; what came meanwhile is answered as one batch."""

import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from models.inference.backend import InferenceError, Input, Outputs
from models.inference.batching import Gathering


class Doubling:
    """A backend that answers twice its input, one picture a row, when it is let."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.free = threading.Event()
        self.asked = threading.Event()

    def run(self, batch: Input) -> Outputs:
        self.asked.set()
        assert self.free.wait(10)
        self.sizes.append(len(batch))
        if (batch == 99).any():
            raise RuntimeError("the device is gone")
        return [batch.reshape(len(batch), -1).astype(np.float32) * 2]

    def start(self, batch: Input) -> Callable[[], Outputs]:
        return lambda: self.run(batch)

    def close(self) -> None:
        self.free.set()


@pytest.fixture
def doubling() -> Iterator[tuple[Doubling, Gathering]]:
    backend = Doubling()
    backend.free.set()
    gathering = Gathering(backend, np.zeros((1, 1), np.uint8), most=4)
    backend.sizes.clear()
    yield backend, gathering
    gathering.close()


def one(value: int) -> Input:
    return np.full((1, 1), value, np.uint8)


def test_what_came_while_the_network_was_busy_goes_together_in_sizes_already_tried(
    doubling: tuple[Doubling, Gathering],
) -> None:
    backend, gathering = doubling
    backend.free.clear()
    backend.asked.clear()
    first = gathering.start(one(1))
    assert backend.asked.wait(10)
    others = [gathering.start(one(value)) for value in range(2, 9)]
    backend.free.set()
    assert first()[0].item() == 2
    assert [answer()[0].item() for answer in others] == [2.0 * value for value in range(2, 9)]
    assert backend.sizes == [1, 4, 2, 1]


def test_a_failure_is_told_to_those_who_asked_and_the_next_are_answered(
    doubling: tuple[Doubling, Gathering],
) -> None:
    _, gathering = doubling
    with pytest.raises(RuntimeError, match="device is gone"):
        gathering.run(one(99))
    assert gathering.run(one(5))[0].item() == 10


def test_a_network_that_cannot_run_is_refused_when_it_is_opened() -> None:
    class Broken(Doubling):
        def run(self, batch: Input) -> Outputs:
            raise InferenceError("does not fit")

    with pytest.raises(InferenceError, match="does not fit"):
        Gathering(Broken(), np.zeros((1, 1), np.uint8), most=2)
