"""What is heard, when, and what is not."""

import queue
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from monitor.config import ChimeConfig
from monitor.sinks.chime import BY_LEVEL, BY_SOUND, RATE_HZ, ChimeSink, Samples, pattern, samples
from monitor.types import Kind, Level, Phase
from tests.support.events import event
from tests.support.servers import until

PATTERNS = {**{level.name: p for level, p in BY_LEVEL.items()}, **BY_SOUND}


class FakeSpeaker:
    """Keeps what it was given; may be held, so that a sound lasts as long as the test wants."""

    def __init__(self) -> None:
        self.heard: queue.SimpleQueue[Samples] = queue.SimpleQueue()
        self.free = threading.Event()
        self.free.set()
        self.closed = False

    def write(self, samples: Samples) -> None:
        self.heard.put(samples)
        assert self.free.wait(10)

    def close(self) -> None:
        self.closed = True

    def silent(self) -> bool:
        """Nothing was given to it since the last look."""
        found = not self.heard.empty()
        while not self.heard.empty():
            self.heard.get()
        return not found


@pytest.fixture
def speaker() -> FakeSpeaker:
    return FakeSpeaker()


@pytest.fixture
def chime(speaker: FakeSpeaker) -> Iterator[ChimeSink]:
    chime = ChimeSink(ChimeConfig(), lambda: speaker)
    yield chime
    speaker.free.set()
    chime.close()
    assert speaker.closed or speaker.silent()


def heard_to_the_end(chime: ChimeSink, speaker: FakeSpeaker) -> np.ndarray:
    """Everything that sounds until silence."""
    parts = [speaker.heard.get(timeout=5)]
    until(lambda: not chime.sounding, what="silence")
    while not speaker.heard.empty():
        parts.append(speaker.heard.get())
    return np.concatenate(parts)


@pytest.mark.parametrize("name", PATTERNS)
def test_every_sound_lies_between_200_and_8000_hz(name: str) -> None:
    sound = samples(PATTERNS[name], volume=1.0)
    power = np.abs(np.fft.rfft(sound)) ** 2
    hz = np.fft.rfftfreq(len(sound), 1 / RATE_HZ)
    outside = power[(hz < 200) | (hz > 8000)].sum() / power.sum()
    assert outside < 1e-3
    assert np.abs(sound).max() <= 1.0
    assert abs(sound[0]) < 0.01, "no click"
    assert abs(sound[-1]) < 0.01, "no click"


def test_every_level_and_every_sleep_has_a_sound_of_its_own() -> None:
    assert len({tuple(p) for p in PATTERNS.values()}) == len(PATTERNS)
    assert pattern(Kind.DISTRACTION, Level.NONE) == ()
    drowsy = pattern(Kind.DROWSY, Level.WARNING)
    assert pattern(Kind.SLEEP, Level.WARNING) != drowsy

    def busy(kind: Kind, level: Level) -> float:
        return float(sum(pulse.seconds for pulse in pattern(kind, level)))

    order = [busy(Kind.DROWSY, Level.INFO), busy(Kind.MICROSLEEP, Level.WARNING)]
    order += [busy(Kind.SLEEP, Level.CRITICAL), busy(Kind.UNRESPONSIVE, Level.CRITICAL)]
    assert order == sorted(order), "the deeper the sleep, the longer it sounds"


def test_an_alert_sounds_once_at_its_start(chime: ChimeSink, speaker: FakeSpeaker) -> None:
    chime.on_event(event())
    sound = heard_to_the_end(chime, speaker)
    expected = samples(pattern(Kind.MICROSLEEP, Level.WARNING), ChimeConfig().volume)
    assert np.array_equal(sound, expected)


def test_an_alert_nobody_answers_sounds_again(chime: ChimeSink, speaker: FakeSpeaker) -> None:
    chime.on_event(event())
    heard_to_the_end(chime, speaker)
    chime.on_event(event(phase=Phase.UPDATE, after_s=3))
    heard_to_the_end(chime, speaker)
    chime.on_event(event(phase=Phase.UPDATE, after_s=6, acknowledged=True))
    chime.on_event(event("mild", Phase.UPDATE, level=Level.CAUTION, after_s=6))
    assert not chime.sounding
    assert speaker.silent()


def test_the_more_urgent_interrupts_and_the_less_waits_for_nothing(
    chime: ChimeSink, speaker: FakeSpeaker
) -> None:
    speaker.free.clear()
    chime.on_event(event("mild", level=Level.CAUTION, kind=Kind.DROWSY))
    speaker.heard.get(timeout=5)
    chime.on_event(event("sleep", level=Level.CRITICAL, kind=Kind.SLEEP))
    chime.on_event(event("mild too", level=Level.CAUTION, kind=Kind.YAWNING))
    speaker.free.set()
    sound = heard_to_the_end(chime, speaker)
    assert len(sound) == len(samples(pattern(Kind.SLEEP, Level.CRITICAL), 1.0))


def test_the_end_of_an_alert_ends_its_sound(chime: ChimeSink, speaker: FakeSpeaker) -> None:
    speaker.free.clear()
    chime.on_event(event(kind=Kind.UNRESPONSIVE))
    speaker.heard.get(timeout=5)
    chime.on_event(event(phase=Phase.END, after_s=1, kind=Kind.UNRESPONSIVE))
    speaker.free.set()
    until(lambda: not chime.sounding, what="silence")
    assert speaker.heard.qsize() == 0


def test_muted_it_is_silent_and_unmuted_it_sounds(chime: ChimeSink, speaker: FakeSpeaker) -> None:
    chime.muted = True
    chime.on_event(event())
    assert not chime.sounding
    assert speaker.silent()
    chime.muted = False
    chime.on_event(event("next"))
    heard_to_the_end(chime, speaker)


def test_below_its_level_it_is_silent(speaker: FakeSpeaker) -> None:
    chime = ChimeSink(ChimeConfig(min_level="critical"), lambda: speaker)
    chime.on_event(event(level=Level.WARNING))
    assert not chime.sounding
    chime.close()
    assert speaker.silent()


def test_without_a_sound_device_it_says_so_and_tries_again() -> None:
    tries = threading.Semaphore(0)
    speaker = FakeSpeaker()
    plugged = False

    def open_speaker() -> FakeSpeaker:
        tries.release()
        if not plugged:
            raise OSError("no default output device")
        return speaker

    chime = ChimeSink(ChimeConfig(), open_speaker)
    chime.on_event(event())
    assert tries.acquire(timeout=5)
    until(chime.trouble, what="trouble told")
    assert chime.trouble() == (
        "silent: no default output device; connect a speaker or set chime.device"
    )
    plugged = True
    chime.on_event(event("next"))
    heard_to_the_end(chime, speaker)
    assert chime.trouble() is None
    chime.close()


def test_the_real_sound_device_works_or_says_why_not() -> None:
    chime = ChimeSink(ChimeConfig(volume=0.0))
    chime.on_event(event(level=Level.CAUTION, kind=Kind.DROWSY))
    until(lambda: not chime.sounding, what="played or failed")
    trouble = chime.trouble()
    chime.close()
    assert trouble is None or trouble.startswith("silent: ")
