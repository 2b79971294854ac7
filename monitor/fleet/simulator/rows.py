"""A simulated life as rows of `monitor.store.schema`, in the order of each table's columns.

Rows of events and samples are made by the protocol's mapper, once for each recorded one; a
vehicle's own values are put in their places. JSON columns hold JSON text: both `COPY` and SQLite
take it as it is.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from monitor.fleet.simulator.driver_profile import HOUR_S, Leg
from monitor.fleet.simulator.live_state import state_message, stats_of
from monitor.fleet.simulator.recording import Piece
from monitor.fleet.simulator.vehicle import CAMERA, Episode, Life
from monitor.protocol import mapping
from monitor.protocol.schemas import MONITORED
from monitor.store import schema
from monitor.types import CLOSURES, Kind, Level

Row = tuple[Any, ...]
Window = tuple[Leg, float, float, float]

REVIEWERS = ("anna", "ben", "chloe")
# A silence this long makes the broker publish the will: keepalive 15 s times 1.5, delay 10 s.
NOTICED_OFFLINE_S = 32.5
_SAMPLE_COLUMNS = list(schema.samples.columns.keys())
_EVENT_COLUMNS = list(schema.events.columns.keys())
# The columns of `samples` that are the vehicle's; the others are the recorded driver's.
_OWN = 4
_EMOTION, _FPS = _SAMPLE_COLUMNS.index("emotion"), _SAMPLE_COLUMNS.index("fps")


@dataclass(frozen=True, slots=True)
class Detail:
    """How much is written.

    Attributes:
        sample_hours: the last hours with a sample every `sample_every_s`.
        sample_every_s: seconds.
        keep_samples_days: alerts younger than this have samples around them.
        reviewed: share of the cautions with a verdict; warnings are looked at five times as often.
            None of those about the camera is.
        report_every_s: a row of monitored time this often.
    """

    sample_hours: float = 3.0
    sample_every_s: float = 5.0
    keep_samples_days: float = 14.0
    reviewed: float = 0.08
    report_every_s: float = HOUR_S


def tables(life: Life, detail: Detail) -> dict[str, list[Row]]:
    """Everything a fleet's database holds about this vehicle, but its row in `vehicles`."""
    return {
        # What still waits in a tunnel at the end is in the vehicle's outbox, not yet here.
        "events": [
            event_row(life.vehicle.id, episode)
            for episode in life.episodes
            if episode.received_at <= life.end or episode.going_on
        ],
        "coverage": list(coverage_rows(life, detail.report_every_s)),
        "availability": availability_rows(life),
        "camera_status": list(camera_status_rows(life)),
        "samples": list(_samples(life, detail)),
        "reviews": list(_reviews(life, detail.reviewed)),
    }


def vehicle_row(life: Life) -> Row:
    """The row of `vehicles`: where the vehicle stands at the end of the simulated time."""
    vehicle, last = life.vehicle, life.legs[-1] if life.legs else None
    changes = availability_rows(life)
    status, status_at = (changes[-1][2], changes[-1][1]) if changes else ("unknown", None)
    # Just after its end, when the process has closed what was open.
    seen_at = min(last.ended_at + 0.1, life.end) if last else life.start
    return (
        vehicle.id,
        status,
        status_at,
        life.legs[0].started_at if last else life.start,
        seen_at,
        state_message(life, last, seen_at).payload.decode() if last else None,
        seen_at if last else None,
        stats_of(life, last, seen_at).encode().decode() if last else None,
        vehicle.version,
        round(float(life.clock_skew_s), 3),
    )


def event_row(vehicle: str, episode: Episode) -> Row:
    """A row of `events`."""
    leg = episode.leg
    values = {
        **_recorded_event(episode.piece, episode.sent[-1]),
        "id": episode.id,
        "started_at": episode.started_at,
        "vehicle": vehicle,
        "drive": leg.id,
        "camera": CAMERA,
        "updated_at": episode.at,
        "ended_at": None if episode.going_on else episode.at,
        "policy": leg.policy,
        "calibration": leg.calibration,
        "sequence": episode.sequence,
        "received_at": episode.received_at,
        "changed_at": episode.received_at,
    }
    return tuple(values[name] for name in _EVENT_COLUMNS)


@cache
def _recorded_event(piece: Piece, place: int) -> Mapping[str, object]:
    """The row of a recorded event, its JSON as text."""
    row = mapping.event_row(piece.events[place], "")
    return {
        **row,
        "evidence": json.dumps(row["evidence"]),
        "models": json.dumps(row["models"]),
        "duration_s": round(row["duration_s"], 3),
    }


# --- samples -----------------------------------------------------------------------------------


def sample_row(life: Life, leg: Leg, at: float) -> Row:
    """The row of `samples` at `at` (epoch seconds, within the leg)."""
    return _sample(life, leg, max(int(at - leg.started_at + 1e-6), 0))


def _sample(life: Life, leg: Leg, second: int) -> Row:
    piece, recorded, _ = life.timelines[leg.id].at(second)
    at = round(leg.started_at + second, 3)
    row = [life.vehicle.id, CAMERA, at, leg.id, *_recorded_sample(piece, recorded)]
    row[_EMOTION] = row[_EMOTION] and leg.expression(second)
    row[_FPS] = life.vehicle.fps(piece.fps[recorded])
    return tuple(row)


@cache
def _recorded_sample(piece: Piece, second: int) -> Row:
    """The row of a recorded state behind the vehicle's own columns, its JSON as text."""
    state = mapping.state_payload(
        piece.states[second],
        vehicle="v",
        camera=CAMERA,
        drive="d",
        policy="",
        fps=piece.fps[second],
    )
    sample = mapping.sample_row(state)
    row: Mapping[str, object] = {**sample, "degraded": json.dumps(sample["degraded"])}
    return tuple(row[name] for name in _SAMPLE_COLUMNS[_OWN:])


def _samples(life: Life, detail: Detail) -> Iterator[Row]:
    """Every step of the last hours, and every step round the alerts; no instant twice."""
    since, windows = _wanted(life, detail)
    by_leg: dict[str, list[Window]] = {}
    for window in windows:
        by_leg.setdefault(window[0].id, []).append(window)
    for leg in life.legs:
        wanted = by_leg.get(leg.id, [])
        if leg.ended_at > since:
            wanted.append((leg, max(leg.started_at, since), leg.ended_at, detail.sample_every_s))
        for second in sorted({second for window in wanted for second in _grid(*window)}):
            yield _sample(life, leg, second)


def _grid(leg: Leg, begin: float, end: float, step: float) -> range:
    """Whole seconds since the leg's start that fall on the step and into the window."""
    first = math.ceil(max(begin - leg.started_at, 0.0) / step)
    last = math.floor((min(end, leg.ended_at) - leg.started_at) / step)
    stride = max(int(step), 1)
    return range(first * stride, last * stride + 1, stride)


def _wanted(life: Life, detail: Detail) -> tuple[float, list[Window]]:
    """Since when every sample is kept, and (leg, from, to, step) round the alerts."""
    since = life.end - detail.sample_hours * HOUR_S
    oldest = life.end - detail.keep_samples_days * 24 * HOUR_S
    windows = []
    for episode in life.episodes:
        event = episode.recorded
        close = event.kind in CLOSURES
        # What is sampled anyway needs no more, but a closure a closer look.
        if event.level < Level.WARNING or episode.started_at < oldest:
            continue
        if episode.started_at >= since and not close:
            continue
        around_s, step_s = (20.0, 1.0) if close else (90.0, 5.0)
        begin, end = episode.started_at - around_s, episode.at + around_s
        windows.append((episode.leg, begin, end, step_s))
    return since, windows


# --- monitored time, and what could not be seen ------------------------------------------------


def coverage_rows(life: Life, every_s: float = HOUR_S) -> Iterator[Row]:
    """Rows of `coverage`: monitored time by report and cause."""
    for leg in life.legs:
        unwatched = [
            (placed.second + begin, placed.second + end, cause)
            for placed in life.timelines[leg.id].placed
            for begin, end, cause in placed.piece.unwatched
        ]
        driven_s = leg.ended_at - leg.started_at
        for begin_s in np.arange(0.0, driven_s, every_s).tolist():
            end_s = min(begin_s + every_s, driven_s)
            report = life.vehicle.id, leg.id, CAMERA, round(leg.started_at + begin_s, 3)
            for cause, value in _seconds_by_cause(unwatched, begin_s, end_s).items():
                yield *report, cause, round(value, 3), None


def _seconds_by_cause(
    unwatched: list[tuple[int, int, str]], begin_s: float, end_s: float
) -> dict[str, float]:
    """Seconds of `begin_s..end_s` by cause."""
    seconds: dict[str, float] = {}
    for since, until, cause in unwatched:
        overlap_s = min(until, end_s) - max(since, begin_s)
        if overlap_s > 0:
            seconds[cause] = seconds.get(cause, 0.0) + overlap_s
    monitored_s = end_s - begin_s - sum(seconds.values())
    return {MONITORED: monitored_s, **seconds} if monitored_s > 0 else seconds


def availability_rows(life: Life) -> list[Row]:
    """Rows of `availability`, in the order of time."""
    vehicle = life.vehicle.id
    rows: dict[float, str] = {}
    for leg in life.legs:
        rows[leg.started_at] = "online"
        if leg is not life.current:
            rows[leg.ended_at] = "stopped"
    for episode in life.episodes:
        silent_from, back = episode.at, episode.received_at
        if back - silent_from > NOTICED_OFFLINE_S:
            rows[silent_from + NOTICED_OFFLINE_S] = "offline"
            rows[back] = "online"
    changes = [(at, status) for at, status in sorted(rows.items()) if at <= life.end]
    nexts: list[float | None] = [*(at for at, _ in changes[1:]), None]
    return [
        (vehicle, at, status, until_at)
        for (at, status), until_at in zip(changes, nexts, strict=False)
    ]


def camera_status_rows(life: Life) -> Iterator[Row]:
    """Rows of `camera_status`, in the order of time."""
    for leg in life.legs:
        status = None
        for placed in life.timelines[leg.id].placed:
            for second, changed in placed.piece.statuses:
                at = leg.started_at + placed.second + second
                if changed is not status and at <= life.end:
                    yield life.vehicle.id, CAMERA, round(at, 3), changed.value
                status = changed


# --- reviews -----------------------------------------------------------------------------------


def _reviews(life: Life, share: float) -> Iterator[Row]:
    """Verdicts: mostly right, given within two days, now and then revised."""
    rng = np.random.default_rng([int(life.end), len(life.episodes), len(life.legs)])
    for episode in life.episodes:
        event = episode.recorded
        eager = 5.0 if event.level >= Level.WARNING else 1.0
        if event.level < Level.CAUTION or event.kind is Kind.DEGRADED:
            continue
        if rng.random() > share * eager:
            continue
        at = episode.at + float(rng.gamma(2.0, 6.0)) * HOUR_S
        for _ in range(2 if rng.random() < 0.04 else 1):
            if at < life.end:
                who = REVIEWERS[int(rng.integers(3))]
                yield (episode.id, who, at, *_verdict(episode, rng), None)
            at += HOUR_S


def _verdict(episode: Episode, rng: np.random.Generator) -> tuple[str, str | None]:
    dice = rng.random()
    if dice < 0.05:
        return "unsure", None
    if episode.looked_like and dice < 0.95:
        return "false", episode.looked_like
    return "true", None
