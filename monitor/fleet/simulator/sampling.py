"""The driver's state as it would have been sampled, in keeping with the episodes of the drive."""

import json
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from monitor.fleet.simulator.driver_profile import Array, Drive
from monitor.fleet.simulator.vehicle import CAMERA, Life
from monitor.types import (
    ClosureEvidence,
    DistractionEvidence,
    Event,
    Eyes,
    Kind,
    PerclosEvidence,
)

Window = tuple[Drive, float, float, float]
CALIBRATION_S = 60.0
# PERCLOS is a share of the last 60 s (the policy's first window): it falls back within it.
PERCLOS_WINDOW_S = 60.0
EMOTIONS = ("neutral", "neutral", "neutral", "neutral", "happiness", "surprise", "sadness")


class Sampling:
    """Rows of `samples` of one vehicle.

    Args:
        life: of the vehicle.
        every_s: the step of continuous sampling, seconds.
    """

    def __init__(self, life: Life, every_s: float = 5.0) -> None:
        self._life = life
        self._every_s = every_s

    def rows(self, since: float, windows: list[Window]) -> Iterator[tuple[Any, ...]]:
        """Every step from `since` to the end, and every step of each window; no instant twice."""
        for drive in self._life.drives:
            begins = max(drive.started_at, since)
            wanted = [(begins, drive.ended_at, self._every_s)] if drive.ended_at > since else []
            wanted += [window[1:] for window in windows if window[0].id == drive.id]
            instants = sorted({k for window in wanted for k in self._grid(drive, *window)})
            if instants:
                yield from self.at(drive, np.asarray(instants, np.float64) + drive.started_at)

    def at(self, drive: Drive, at: Array) -> Iterator[tuple[Any, ...]]:
        """A row for each instant (epoch seconds, ascending) of a drive."""
        rng = np.random.default_rng([int(drive.calibration, 16), int(at[0])])
        sleepy = self._life.mood(drive, at).sleepiness
        columns = {
            "level": np.zeros(len(at)),
            "openness": np.clip(rng.normal(0.98 - 0.07 * sleepy, 0.05), 0.3, 1.3),
            "closure_s": np.zeros(len(at)),
            "perclos": np.clip(0.02 + 0.03 * sleepy + rng.normal(0, 0.006, len(at)), 0, 1),
            "yaw_deg": rng.normal(0, 4.0, len(at)),
            "pitch_deg": rng.normal(-1.0 - sleepy, 2.0),
            "roll_deg": rng.normal(0, 1.8, len(at)),
            "fps": rng.normal(29.4, 0.6, len(at)),
        }
        kinds: list[str | None] = [None] * len(at)
        causes: list[list[str]] = [[] for _ in at]
        for episode in self._life.by_drive[drive.id]:
            self._overlay(episode.event, at, columns, kinds, causes)
        # A head that is not seen turns nowhere, whatever happened meanwhile.
        unseen = np.isnan(columns["roll_deg"])
        columns["yaw_deg"][unseen] = columns["pitch_deg"][unseen] = math.nan
        fatigue = np.clip(
            18 * sleepy + 180 * columns["perclos"] + rng.normal(0, 1.5, len(at)), 0, 100
        )
        speed = np.clip(
            62 + 26 * np.sin((at - drive.started_at) / 900.0) + rng.normal(0, 2), 0, None
        )
        calibrated = np.clip((at - drive.started_at) / CALIBRATION_S, 0, 1)
        emotions = rng.choice(EMOTIONS, len(at)).tolist()
        yield from zip(
            [self._life.vehicle.id] * len(at),
            [CAMERA] * len(at),
            np.round(at, 3).tolist(),
            [drive.id] * len(at),
            columns["level"].astype(int).tolist(),
            kinds,
            [_eyes(value).value for value in columns["openness"].tolist()],
            _known(columns["openness"], 3),
            _known(columns["closure_s"], 2),
            _known(columns["perclos"], 4),
            _known(fatigue, 1),
            _known(columns["yaw_deg"], 1),
            _known(columns["pitch_deg"], 1),
            _known(columns["roll_deg"], 1),
            emotions,
            _known(np.maximum(columns["fps"], 0.0), 1),
            _known(calibrated, 2),
            _known(speed, 1),
            [json.dumps(found) for found in causes],
            *([[None] * len(causes)] * 3),  # neither driver nor place
            strict=True,
        )

    @staticmethod
    def _grid(drive: Drive, begin: float, end: float, step: float) -> range:
        """Whole seconds since the drive's start that fall on the step and into the window."""
        first = math.ceil(max(begin - drive.started_at, 0.0) / step)
        last = math.floor((min(end, drive.ended_at) - drive.started_at) / step)
        stride = max(int(step), 1)
        return range(first * stride, last * stride + 1, stride)

    @staticmethod
    def _overlay(
        event: Event,
        at: Array,
        columns: dict[str, Array],
        kinds: list[str | None],
        causes: list[list[str]],
    ) -> None:
        """Write an episode over the quiet drive it happened in."""
        first, last = np.searchsorted(at, (event.started_at, event.at), side="left")
        during = slice(int(first), int(last))
        urgent = np.arange(during.start, during.stop)[columns["level"][during] < event.level]
        columns["level"][urgent] = int(event.level)
        for index in urgent.tolist():
            kinds[index] = event.kind.value
        since = at[during] - event.started_at
        evidence = event.evidence
        if isinstance(evidence, ClosureEvidence):
            columns["openness"][during] = evidence.openness
            columns["closure_s"][during] = since
            columns["pitch_deg"][during] = (evidence.pitch_deg or 0.0) * np.minimum(since / 2, 1)
            # The closed seconds stay in the window after the eyes open again.
            after = slice(int(first), int(np.searchsorted(at, event.at + PERCLOS_WINDOW_S)))
            closed = np.minimum(at[after] - event.started_at, event.duration_s) / PERCLOS_WINDOW_S
            columns["perclos"][after] = np.minimum(columns["perclos"][after] + closed, 1.0)
        elif isinstance(evidence, PerclosEvidence):
            columns["perclos"][during] += (evidence.perclos or 0.0) * np.minimum(
                since / 20 + 0.4, 1
            )
            columns["openness"][during] *= 0.8
        elif isinstance(evidence, DistractionEvidence):
            columns["yaw_deg"][during] = evidence.yaw_deg
            columns["pitch_deg"][during] = evidence.pitch_deg
        elif event.kind in {Kind.DEGRADED, Kind.ABSENT}:
            _impair(event, during, columns, causes)


def _impair(
    event: Event, during: slice, columns: dict[str, Array], causes: list[list[str]]
) -> None:
    """What is not seen is unknown, not zero."""
    cause = event.cause or "no_face"
    if cause == "low_fps":
        columns["fps"][during] = 6.0
    elif cause not in {"uncalibrated", "multiple_faces"}:
        for name in ("openness", "closure_s", "perclos"):
            columns[name][during] = math.nan
        if cause not in {"eyes_not_visible", "glare"}:
            for name in ("yaw_deg", "pitch_deg", "roll_deg"):
                columns[name][during] = math.nan
    if cause == "camera_lost":
        columns["fps"][during] = 0.0
    for found in causes[during]:
        if cause not in found:
            found.append(cause)


def _eyes(openness: float) -> Eyes:
    if math.isnan(openness):
        return Eyes.UNKNOWN
    return Eyes.CLOSED if openness < 0.35 else Eyes.OPEN


def _known(values: Array, digits: int) -> list[float | None]:
    """Rounded, with None for what is unknown."""
    return [None if value != value else value for value in np.round(values, digits).tolist()]  # noqa: PLR0124  only NaN differs from itself
