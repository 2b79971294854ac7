"""A drive script: what the animated driver does, when, and the truth about it.

Text, one segment after another; `+` puts segments side by side; `#` begins a comment:

    attentive 20, blink, yawn 4, closed 1.6 depth=0.9 ramp=0.3
    closed 6 + nod 4 at=1.5          # the head drops while the eyes are shut
    closed 2 hold, nod 3, attentive  # held through what follows, until `attentive`

or the same as YAML: a list, or a mapping with `seed` and `drive`:

    seed: 3
    drive:
      - attentive: 20
      - closed: {seconds: 6, depth: 0.9}
        nod: {seconds: 4, at: 1.5}

A number is the segment's seconds. A ramp is centred on a segment's edge: at `start_s` and `end_s`
of the truth the lids are half shut, the head half turned.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from pydantic import JsonValue

from models.synthesis import FaceState
from models.synthesis.drive_script import BLINK_S, LONGEST_S, DriveError, Part, read_script

__all__ = ["Drive", "DriveError", "Segment"]

_MOST_SEGMENTS = 10_000
_LARGEST_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class Segment:
    """One thing that happens.

    Attributes:
        kind: a word of `WORDS`.
        start_s, end_s: half-way points of its ramps, seconds from the drive's start.
        ramp_s: how long it takes to come and to go.
        parameters: by name, defaults filled in.
        spontaneous: a blink of its own accord, not written in the script.
    """

    kind: str
    start_s: float
    end_s: float
    ramp_s: float
    parameters: Mapping[str, float] = field(default_factory=dict)
    spontaneous: bool = False

    def strength(self, t_s: float) -> float:
        """0 before and after, 1 in between, eased over the ramps."""
        ramp = min(self.ramp_s, self.end_s - self.start_s)
        return _ease(t_s - self.start_s, ramp) * (1 - _ease(t_s - self.end_s, ramp))

    def to_dict(self) -> dict[str, JsonValue]:
        """The segment as an interval of the truth."""
        interval: dict[str, JsonValue] = {
            "kind": self.kind,
            "start_s": round(self.start_s, 6),
            "end_s": round(self.end_s, 6),
            "ramp_s": self.ramp_s,
            **self.parameters,
        }
        return {**interval, "spontaneous": True} if self.spontaneous else interval


def _ease(since_s: float, ramp_s: float) -> float:
    if ramp_s <= 0:
        return 1.0 if since_s >= 0 else 0.0
    x = min(max(since_s / ramp_s + 0.5, 0.0), 1.0)
    return x * x * (3 - 2 * x)


class Drive:
    """A parsed script: the driver's state at any time, and the ground truth."""

    def __init__(
        self, script: str, segments: tuple[Segment, ...], duration_s: float, seed: int
    ) -> None:
        self.script = script
        self.segments = segments
        self.duration_s = duration_s
        self.seed = seed
        self._starts = np.array([s.start_s - s.ramp_s for s in segments])
        self._ends = np.array([s.end_s + s.ramp_s for s in segments])

    @classmethod
    def parse(cls, script: str, *, seed: int = 0) -> "Drive":
        """Read a script, text or YAML.

        Args:
            script: see the module.
            seed: of spontaneous blinks and talk; a YAML script's own `seed` is stronger.

        Raises:
            DriveError: unknown word or parameter, wrong value, nothing to do.
        """
        own_seed, groups = read_script(script)
        seed = seed if own_seed is None else own_seed
        placed, duration_s = _place(groups)
        if not placed:
            raise DriveError(
                "drive script: nothing to do; write for example `attentive 20, closed 2`"
            )
        blinks = tuple(_spontaneous_blinks(placed, duration_s, seed))
        return cls(script, (*placed, *blinks), duration_s, seed)

    @classmethod
    def load(cls, script: str | Path, *, seed: int = 0) -> "Drive":
        """Read a script from a file, or take the string itself as one.

        Raises:
            DriveError: as `parse`, or the file cannot be read.
        """
        text = str(script)
        if isinstance(script, str) and not _is_path(script):
            return cls.parse(script, seed=seed)
        try:
            with Path(text).open("rb") as file:
                read = file.read(_LARGEST_BYTES + 1)
            return cls.parse(read.decode("utf-8"), seed=seed)
        except OSError as error:
            raise DriveError(f"{text}: cannot be read ({error.strerror}); give a script") from None
        except UnicodeDecodeError:
            raise DriveError(f"{text}: is not UTF-8 text; a drive script is text or YAML") from None
        except DriveError as error:
            raise DriveError(f"{text}: {error}") from None

    def truth(self) -> list[dict[str, JsonValue]]:
        """What happens when, in order: `kind`, `start_s`, `end_s`, `ramp_s`, parameters.

        Segments of the same kind and parameters that touch are one interval.
        """
        intervals: list[Segment] = []
        for segment in sorted(self.segments, key=lambda s: (s.start_s, s.kind)):
            for i, earlier in enumerate(intervals):
                if _continues(earlier, segment):
                    intervals[i] = replace(earlier, end_s=max(earlier.end_s, segment.end_s))
                    break
            else:
                intervals.append(segment)
        ended = (replace(i, end_s=min(i.end_s, self.duration_s)) for i in intervals)
        return [interval.to_dict() for interval in ended]

    def truth_json(self) -> str:
        """The truth as a JSON document, with the script it comes from."""
        document = {
            "script": self.script,
            "seed": self.seed,
            "duration_s": round(self.duration_s, 6),
            "intervals": self.truth(),
        }
        return json.dumps(document, indent=2) + "\n"

    def pose_at(self, t_s: float) -> FaceState:
        """The driver and the camera at `t_s` seconds from the start."""
        amounts = dict.fromkeys(_CHANNELS, 0.0)
        for i in np.flatnonzero((self._starts <= t_s) & (t_s <= self._ends)):
            segment = self.segments[i]
            strength = segment.strength(t_s)
            for channel, value in _effects(segment, t_s, self.seed).items():
                amounts[channel] += strength * value
        shares = {c: min(max(amounts[c], 0.0), 1.0) for c in _SHARES}
        return FaceState(
            yaw_deg=min(max(amounts["yaw_deg"], -50), 50),
            pitch_deg=min(max(amounts["pitch_deg"], -45), 30),
            roll_deg=min(max(amounts["roll_deg"], -40), 40),
            light=1 - min(max(amounts["darkness"], 0.0), 1.0),
            frozen=amounts["frozen"] > 0.5,
            **shares,
        )


_SHARES = ("closure", "jaw", "gaze_down", "squint", "away", "glare", "noise", "second_face")
_CHANNELS = (*_SHARES, "yaw_deg", "pitch_deg", "roll_deg", "darkness", "frozen")


def _continues(earlier: Segment, later: Segment) -> bool:
    return (
        earlier.kind == later.kind
        and not (earlier.spontaneous or later.spontaneous)
        and earlier.parameters == later.parameters
        and later.start_s <= earlier.end_s + 1e-9
    )


def _effects(segment: Segment, t_s: float, seed: int) -> dict[str, float]:
    """What a segment does to each channel at full strength."""
    if segment.kind == "talk":
        return {"jaw": segment.parameters["depth"] * _syllables(t_s, seed)}
    if segment.kind == "yawn":  # the head tips back a little, as it does in life
        return {"jaw": segment.parameters["depth"], "closure": segment.parameters["lids"],
                "pitch_deg": 6.0}  # fmt: skip
    return {
        channel: factor * segment.parameters.get(parameter, 1.0)
        for parameter, channel, factor in _CHANGES.get(segment.kind, ())
    }


# What each kind changes: parameter that says how much (absent: 1), channel, factor.
_CHANGES: dict[str, tuple[tuple[str, str, float], ...]] = {
    "blink": (("depth", "closure", 1.0),),
    "closed": (("depth", "closure", 1.0), ("squint", "squint", 1.0)),
    "laugh": (("depth", "jaw", 1.0), ("lids", "closure", 1.0), ("squint", "squint", 1.0)),
    "nod": (("angle", "pitch_deg", -1.0),),
    "look_away": (("angle", "yaw_deg", 1.0), ("pitch", "pitch_deg", 1.0)),
    "look_down": (
        ("gaze", "gaze_down", 1.0),
        ("lids", "closure", 1.0),
        ("angle", "pitch_deg", -1.0),
    ),
    "tilt": (("angle", "roll_deg", 1.0),),
    "absent": (("", "away", 1.0),),
    "dark": (("depth", "darkness", 1.0),),
    "glare": (("depth", "glare", 1.0),),
    "noise": (("depth", "noise", 1.0),),
    "frozen": (("", "frozen", 1.0),),
    "second_face": (("", "second_face", 1.0),),
}


def _syllables(t_s: float, seed: int) -> float:
    """The jaw in speech, 0..1: some four syllables a second (an ordinary speaking rate)."""
    beat = 0.5 + 0.5 * math.sin(2 * math.pi * 3.9 * t_s + seed)
    phrase = 0.55 + 0.45 * math.sin(2 * math.pi * 0.7 * t_s + 2 * seed)
    return beat * phrase


def _spontaneous_blinks(
    segments: tuple[Segment, ...], duration_s: float, seed: int
) -> Iterator[Segment]:
    """Blinks at irregular intervals through every segment that has a blink rate."""
    rng = np.random.default_rng(seed)
    for segment in segments:
        rate = segment.parameters.get("blinks", 0.0)
        if rate <= 0:
            continue
        t = segment.start_s + 60 / rate * rng.uniform(0.3, 0.8)
        while t + 2 * BLINK_S < min(segment.end_s, duration_s):
            yield Segment("blink", t, t + BLINK_S, 0.1, {"depth": 1.0}, spontaneous=True)
            t += 60 / rate * rng.uniform(0.6, 1.4)


def _place(groups: list[list[Part]]) -> tuple[tuple[Segment, ...], float]:
    """Give every part its place in time; held ones last until the next `attentive`."""
    placed: list[Segment] = []
    held: list[int] = []
    cursor = 0.0
    for group in groups:
        if any(part.kind == "attentive" for part in group):
            held = _release(placed, held, cursor)
        for part in group:
            start = cursor + part.at
            placed.append(
                Segment(part.kind, start, start + part.seconds, part.ramp, part.parameters)
            )
            if part.hold:
                held.append(len(placed) - 1)
        cursor += max(part.at + part.seconds for part in group)
        if cursor > LONGEST_S or len(placed) > _MOST_SEGMENTS:
            raise DriveError(
                f"drive script: too long; a drive has at most {LONGEST_S:.0f} s and "
                f"{_MOST_SEGMENTS} segments"
            )
    # What is held at the end has no end to ease out of.
    _release(placed, held, cursor + 1.0)
    return tuple(replace(s, end_s=min(s.end_s, cursor + 1.0)) for s in placed), cursor


def _release(placed: list[Segment], held: list[int], at_s: float) -> list[int]:
    for i in held:
        placed[i] = replace(placed[i], end_s=max(placed[i].end_s, at_s))
    return []


def _is_path(script: str) -> bool:
    if "\n" in script or "," in script or len(script) > 1024:
        return False
    named_so = "/" in script or script.lower().endswith((".txt", ".drive", ".yaml", ".yml"))
    return named_so or Path(script).is_file()
