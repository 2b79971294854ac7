"""When each picture of a recording is to be shown, also where its time stamps are no good.

Stamps may be missing (a raw stream), all alike, come out of order (decoding times written as
presentation times), begin anew (files joined end to end) or jump. Each is mended in the way that
keeps the pace of the film, and each is told: a film that is silently squeezed shows no closure.
"""

import heapq
import statistics
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice, pairwise

import av

ASSUMED_FPS = 25.0  # as FFmpeg assumes
# A rate that no camera of drivers has: the stamps are counters, not times.
_LEAST_FPS, _MOST_FPS = 0.2, 240.0
# So many packets say what kind of stamps a file has.
_LOOKED_AT = 3000
# Of sound stamps nearly all differ; a clock of whole seconds gives 30 pictures the same one.
_LEAST_DISTINCT = 0.8
# H.264 puts off at most 16 pictures; real encoders at most a few.
_REORDERED = 6
# Going back further than reordering can is a new beginning; going on further than this a jump.
_RESTART_S = 1.0
_JUMP_S = 3600.0
# What stands for a jump: longer than any policy bridges, so that nothing spans it.
_GAP_S = 10.0


@dataclass(frozen=True, slots=True)
class Stamps:
    """What a file's time stamps are worth.

    Attributes:
        packets: how many there were to look at, up to a few thousand.
        step_s: from one picture to the next, usually.
        assumed: None where the stamps are used; else why not and what is assumed instead.
    """

    packets: int
    step_s: float
    assumed: str | None = None


def stamps_of(
    container: av.container.InputContainer, stream: av.VideoStream, *, raw: bool, fps: float | None
) -> Stamps:
    """Look at a file's packets, from its start.

    Args:
        container, stream: the file and its film; the packets read are gone.
        raw: its format knows no times; those that are there are FFmpeg's guess.
        fps: the configured rate of a file without times.
    """
    packets = list(islice((p for p in container.demux(stream) if p.size), _LOOKED_AT))
    given = [packet.dts if packet.dts is not None else packet.pts for packet in packets]
    stamps = [float(stamp * stream.time_base) for stamp in given if stamp is not None]
    steps = [after - before for before, after in pairwise(stamps) if after > before]
    step_s = statistics.median(steps) if steps else 0.0
    own_fps = 0.0
    if raw:
        why = "holds no times (a raw stream)"
    elif 2 * len(stamps) < len(packets):
        why = "holds no times"
    elif len(packets) < 2:
        return Stamps(len(packets), 1 / ASSUMED_FPS)
    elif len(steps) < _LEAST_DISTINCT * (len(stamps) - 1):
        why = "gives many pictures the same time"
        span_s = sum(step for step in steps if step < _JUMP_S)
        own_fps = (len(stamps) - 1) / span_s if span_s else 0.0
    elif step_s < 1 / _MOST_FPS:
        why = f"gives times of {1 / step_s:.0f} pictures a second"
    else:
        return Stamps(len(packets), step_s)
    codec_fps = float(stream.codec_context.framerate or 0)
    step_s, rate = _assumed(fps, (own_fps, codec_fps))
    return Stamps(len(packets), step_s, f"{why}; {rate}")


def _assumed(fps: float | None, stated_fps: tuple[float, ...]) -> tuple[float, str]:
    """The configured rate, else one that the file states elsewhere, else 25: its step, in words."""
    if fps is not None:
        return 1 / fps, f"played at the configured {fps:g} frames a second"
    for rate in stated_fps:
        if _LEAST_FPS <= rate <= _MOST_FPS:
            text = f"played at {rate:.4g} frames a second, as it says elsewhere"
            return 1 / rate, f"{text}; cameras[].fps sets another rate"
    text = f"{ASSUMED_FPS:g} frames a second are assumed; set cameras[].fps to the camera's"
    return 1 / ASSUMED_FPS, text


@dataclass
class PresentationTimes:
    """Gives each frame its time: from 0.0, strictly growing.

    Attributes:
        step_s: the latest usual step from picture to picture.
        faults: what had to be mended, for the notice.
    """

    stamps: Stamps
    step_s: float = field(init=False)
    _restarts: int = 0
    _jumps: int = 0
    _missing: int = 0
    _disordered: int = 0

    def __post_init__(self) -> None:
        self.step_s = self.stamps.step_s

    @property
    def faults(self) -> list[str]:
        """Each kind of fault, with its count."""
        faults = (
            (self._restarts, "times begin anew {}; played on without a gap"),
            (self._jumps, "times jump by over an hour {}; 10 s stand for it"),
            (self._missing, "a picture has no time {}; the usual step is assumed"),
            (self._disordered, "times are out of order {}; put in order"),
        )
        return [text.format(_times(count)) for count, text in faults if count]

    def given(self, frames: Iterable[av.VideoFrame]) -> Iterator[tuple[float, av.VideoFrame]]:
        """Every frame in its order with its time in seconds."""
        if self.stamps.assumed is not None:
            for index, frame in enumerate(frames):
                yield index * self.step_s, frame
            return
        first_s, last_s = None, 0.0
        for own_s, frame in self._in_order(frames):
            if first_s is None:
                first_s = last_s = own_s
                yield 0.0, frame
                continue
            # Two pictures of one time are parted; the next one's own holds again.
            t_s = own_s if own_s > last_s else last_s + 1e-3
            if t_s - last_s < 1.0:
                self.step_s = t_s - last_s
            last_s = t_s
            yield t_s - first_s, frame

    def _in_order(self, frames: Iterable[av.VideoFrame]) -> Iterator[tuple[float, av.VideoFrame]]:
        """Frames come in the order of showing; their times are sorted within a few of them."""
        times: list[float] = []
        waiting: deque[av.VideoFrame] = deque()
        for t_s, frame in self._continuous(frames):
            self._disordered += bool(times) and t_s < max(times)
            heapq.heappush(times, t_s)
            waiting.append(frame)
            if len(waiting) > _REORDERED:
                yield heapq.heappop(times), waiting.popleft()
        while waiting:
            yield heapq.heappop(times), waiting.popleft()

    def _continuous(self, frames: Iterable[av.VideoFrame]) -> Iterator[tuple[float, av.VideoFrame]]:
        """Own times, made to go on where they are missing, begin anew or jump."""
        offset_s, newest_s = 0.0, None
        for frame in frames:
            usual_s = 0.0 if newest_s is None else newest_s + self.stamps.step_s
            if frame.time is None:
                self._missing += newest_s is not None
                t_s = usual_s
            else:
                t_s = frame.time + offset_s
            if newest_s is not None and t_s < newest_s - _RESTART_S:
                self._restarts += 1
                offset_s, t_s = offset_s + usual_s - t_s, usual_s
            elif newest_s is not None and t_s > newest_s + _JUMP_S:
                self._jumps += 1
                usual_s += _GAP_S
                offset_s, t_s = offset_s + usual_s - t_s, usual_s
            newest_s = t_s if newest_s is None else max(newest_s, t_s)
            yield t_s, frame


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
