"""The sound in the cabin: a pattern a level, the two sleeps unmistakable.

Every tone lies in 200-8000 Hz (Regulation (EU) 2021/1341, annex I, 3.4.2). Tones are made here,
no file is played. Without a sound device the chime stays silent and says so.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import structlog
from numpy.typing import NDArray

from monitor.config import ChimeConfig
from monitor.sinks.base import Sink
from monitor.types import KINDS, Event, Kind, Level, Phase
from monitor.types.kinds import Sound

log = structlog.get_logger(__name__)

RATE_HZ = 44_100
CHUNK = 2_205  # 50 ms: what is more urgent waits no longer
RAMP_S = 0.015  # soft edges keep clicks, and with them low frequencies, out

Samples = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Tone:
    """One tone and the silence after it; it glides from `hz` to `to_hz`."""

    hz: float
    seconds: float
    gap_s: float = 0.0
    to_hz: float | None = None


_RISING = (Tone(900, 0.14, 0.04, 1500), Tone(1200, 0.14, 0.04, 2000))
_SIREN = (Tone(1400, 0.22, 0.0, 2800), Tone(2800, 0.22, 0.0, 1400))
BY_LEVEL: dict[Level, tuple[Tone, ...]] = {
    Level.INFO: (Tone(660, 0.18),),
    Level.CAUTION: (Tone(880, 0.16, 0.06), Tone(660, 0.22)),
    Level.WARNING: (Tone(1050, 0.14, 0.06),) * 3,
    Level.CRITICAL: (Tone(1700, 0.09, 0.04), Tone(2100, 0.09, 0.04)) * 4,
}
BY_SOUND: dict[Sound, tuple[Tone, ...]] = {
    "rising": _RISING * 3,
    "siren": _SIREN * 4,
    "long siren": _SIREN * 8,
}
# Louder the more urgent; the sleeps use the whole volume.
_LOUDNESS = {Level.INFO: 0.35, Level.CAUTION: 0.55, Level.WARNING: 0.8, Level.CRITICAL: 1.0}


class Speaker(Protocol):
    """The seam to the sound device."""

    def write(self, samples: Samples) -> None:
        """Play mono samples of -1..1 at `RATE_HZ`; returns when they are about played.

        Raises:
            OSError: there is no sound device, or it is gone.
        """

    def close(self) -> None:
        """Let go of the device."""


def pattern(kind: Kind, level: Level) -> tuple[Tone, ...]:
    """What an event sounds like; nothing for level `none`."""
    if level is Level.NONE:
        return ()
    return BY_SOUND.get(KINDS[kind].sound, BY_LEVEL[level])


def samples(pulses: tuple[Tone, ...], volume: float) -> Samples:
    """The sound of a pattern, (N,) float32 in -volume..volume at `RATE_HZ`."""
    parts: list[NDArray[np.float64]] = [np.zeros(0)]
    for pulse in pulses:
        count = int(pulse.seconds * RATE_HZ)
        hz = np.linspace(pulse.hz, pulse.to_hz or pulse.hz, count)
        phase = 2 * np.pi * np.cumsum(hz) / RATE_HZ
        # A second harmonic makes a small loudspeaker's tone carry.
        tone = 0.8 * np.sin(phase) + 0.2 * np.sin(2 * phase)
        ramp = np.minimum(1.0, np.arange(count) / (RAMP_S * RATE_HZ))
        edge = 0.5 - 0.5 * np.cos(np.pi * ramp)
        parts += [tone * edge * edge[::-1], np.zeros(int(pulse.gap_s * RATE_HZ))]
    sound: Samples = (np.concatenate(parts) * volume).astype(np.float32)
    return sound


class ChimeSink(Sink):
    """Sounds an alert at once, and again each time it is repeated while nobody answered.

    Args:
        config: volume, device, from which level on.
        speaker: opens the sound device; called on the chime's thread, again after a failure.
    """

    name = "chime"

    def __init__(self, config: ChimeConfig, speaker: Callable[[], Speaker] | None = None) -> None:
        self._config = config
        self._min_level = Level[config.min_level.upper()]
        self._open = speaker or (lambda: _SoundDevice(config.device))
        self._speaker: Speaker | None = None
        self._news = threading.Condition()
        self._waiting: Event | None = None
        self._playing: Event | None = None
        self._muted = not config.enabled
        self._closing = False
        self._trouble: str | None = None
        self._thread = threading.Thread(target=self._run, name="chime", daemon=True)
        self._thread.start()

    def on_event(self, event: Event) -> None:
        """Sound the event; stop sounding it when it has ended or was answered."""
        over = event.phase is Phase.END or event.acknowledged
        with self._news:
            if over:
                self._forget(event.id)
            elif self._sounds(event):
                self._waiting = event
                self._news.notify()

    @property
    def muted(self) -> bool:
        """Nothing is sounded, by setting or by command."""
        return self._muted

    @muted.setter
    def muted(self, muted: bool) -> None:
        with self._news:
            self._muted = muted or not self._config.enabled
            if self._muted:
                self._forget(None)

    @property
    def sounding(self) -> bool:
        """Something sounds, or is about to."""
        with self._news:
            return self._waiting is not None or self._playing is not None

    def trouble(self) -> str | None:
        """Why nothing is heard; None when all is well."""
        return self._trouble

    def close(self) -> None:
        """Fall silent."""
        with self._news:
            self._closing = True
            self._forget(None)
            self._news.notify()
        self._thread.join(2.0)

    def _sounds(self, event: Event) -> bool:
        if self._muted or event.level < self._min_level:
            return False
        # An update below warning is no reason to sound again.
        if event.phase is Phase.UPDATE and event.level < Level.WARNING:
            return False
        current = self._waiting or self._playing
        return current is None or event.level >= current.level

    def _forget(self, event_id: str | None) -> None:
        # None: whatever sounds or waits.
        if self._waiting is not None and event_id in {None, self._waiting.id}:
            self._waiting = None
        if self._playing is not None and event_id in {None, self._playing.id}:
            self._playing = None

    def _run(self) -> None:
        while True:
            with self._news:
                self._news.wait_for(lambda: self._waiting is not None or self._closing)
                if self._closing:
                    break
                self._playing, self._waiting = self._waiting, None
            self._sound()
        if self._speaker is not None:
            self._speaker.close()

    def _sound(self) -> None:
        event = self._playing
        if event is None:
            return
        volume = self._config.volume * _LOUDNESS[event.level]
        if KINDS[event.kind].sound != "level":
            volume = self._config.volume
        sound = samples(pattern(event.kind, event.level), volume)
        try:
            self._speaker = self._speaker or self._open()
            for start in range(0, len(sound), CHUNK):
                with self._news:
                    if self._playing is not event or self._more_urgent(event):
                        break
                self._speaker.write(sound[start : start + CHUNK])
            self._trouble = None
        except OSError as error:
            self._complain(str(error))
        with self._news:
            if self._playing is event:
                self._playing = None

    def _more_urgent(self, event: Event) -> bool:
        waiting = self._waiting
        return waiting is not None and waiting.level > event.level

    def _complain(self, why: str) -> None:
        self._speaker = None
        if self._trouble is None:
            log.warning("the chime is silent", why=why)
        self._trouble = f"silent: {why}; connect a speaker or set chime.device"


class _SoundDevice:
    def __init__(self, device: str | None) -> None:
        # Import fails with OSError where PortAudio is missing.
        import sounddevice  # noqa: PLC0415

        self._failure: type[Exception] = sounddevice.PortAudioError
        try:
            self._stream = sounddevice.OutputStream(
                samplerate=RATE_HZ, channels=1, dtype="float32", device=device, latency="low"
            )
            self._stream.start()
        except (self._failure, ValueError) as error:
            raise OSError(f"no sound device ({str(error).strip()})") from None

    def write(self, sound: Samples) -> None:
        try:
            self._stream.write(sound.reshape(-1, 1))
        except self._failure as error:
            raise OSError(str(error).strip()) from None

    def close(self) -> None:
        self._stream.stop()
        self._stream.close()
