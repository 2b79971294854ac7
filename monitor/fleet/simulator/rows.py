"""A simulated life as rows of `monitor.store.schema`, in the order of each table's columns.

JSON columns hold JSON text: both `COPY` and SQLite take it as it is.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from monitor.fleet.simulator.driver_profile import HOUR_S, Drive
from monitor.fleet.simulator.live_state import state_message, stats_of
from monitor.fleet.simulator.sampling import Sampling
from monitor.fleet.simulator.vehicle import CAMERA, CLOSURES, Episode, Life
from monitor.types import Cause, Kind, Level
from monitor.types.evidence import evidence_json

Row = tuple[Any, ...]

# What a camera's status topic says while a cause acts.
CAMERA_STATUS = {
    Cause.CAMERA_LOST.value: "offline",
    Cause.CAMERA_FROZEN.value: "frozen",
    Cause.OBSCURED.value: "obscured",
}
REVIEWERS = ("anna", "ben", "chloe")
# A silence this long makes the broker publish the will: keepalive 15 s times 1.5, delay 10 s.
NOTICED_OFFLINE_S = 32.5


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
        "samples": list(Sampling(life, detail.sample_every_s).rows(*_wanted(life, detail))),
        "reviews": list(_reviews(life, detail.reviewed)),
    }


def vehicle_row(life: Life) -> Row:
    """The row of `vehicles`: where the vehicle stands at the end of the simulated time."""
    vehicle, last = life.vehicle, life.drives[-1] if life.drives else None
    known = availability_rows(life)
    status, status_at = (known[-1][2], known[-1][1]) if known else ("unknown", None)
    # Just after its end, when the process has closed what was open.
    seen_at = min(last.ended_at + 0.1, life.end) if last else life.start
    return (
        vehicle.id,
        status,
        status_at,
        life.drives[0].started_at if last else life.start,
        seen_at,
        state_message(life, last, seen_at).payload.decode() if last else None,
        seen_at if last else None,
        stats_of(life, last, seen_at).encode().decode() if last else None,
        vehicle.version,
        round(float(life.clock_skew_s), 3),
    )


def event_row(vehicle: str, episode: Episode) -> Row:
    """A row of `events`."""
    event = episode.event
    return (
        event.id,
        event.started_at,
        vehicle,
        event.drive,
        event.camera,
        event.kind.value,
        event.phase.value,
        int(event.level),
        event.at,
        None if episode.going_on else event.at,
        round(event.duration_s, 3),
        event.acknowledged,
        json.dumps(evidence_json(event.evidence)),
        event.policy,
        event.calibration,
        json.dumps(event.models),
        episode.sequence,
        episode.received_at,
        None,
        None,
        None,
        None,
        episode.received_at,
    )


def coverage_rows(life: Life, every_s: float = HOUR_S) -> Iterator[Row]:
    """Rows of `coverage`: monitored time by report and cause."""
    for drive in life.drives:
        unwatched = [
            (e.event.started_at, e.event.at, str(e.event.cause or Cause.NO_FACE))
            for e in life.by_drive[drive.id]
            if e.event.kind in {Kind.DEGRADED, Kind.ABSENT}
        ]
        for begin in np.arange(drive.started_at, drive.ended_at, every_s).tolist():
            end = min(begin + every_s, drive.ended_at)
            seconds = _seconds_by_cause(unwatched, begin, end)
            for cause, value in seconds.items():
                report = life.vehicle.id, drive.id, CAMERA, round(begin, 3)
                yield *report, cause, round(value, 3), None


def _seconds_by_cause(
    unwatched: list[tuple[float, float, str]], begin: float, end: float
) -> dict[str, float]:
    """Seconds of `begin..end` by cause; overlapping troubles count for the one that began first."""
    seconds: dict[str, float] = {}
    counted_to = begin
    for since, until, cause in sorted(unwatched):
        start, stop = max(since, counted_to), min(until, end)
        if stop > start:
            seconds[cause] = seconds.get(cause, 0.0) + stop - start
            counted_to = stop
    monitored = end - begin - sum(seconds.values())
    return {"monitored": monitored, **seconds} if monitored > 0 else seconds


def availability_rows(life: Life) -> list[Row]:
    """Rows of `availability`, in the order of time."""
    vehicle = life.vehicle.id
    rows: dict[float, str] = {}
    for drive in life.drives:
        rows[drive.started_at] = "online"
        if drive is not life.current:
            rows[drive.ended_at] = "stopped"
    for episode in life.episodes:
        silent_from, back = episode.event.at, episode.received_at
        if back - silent_from > NOTICED_OFFLINE_S:
            rows[silent_from + NOTICED_OFFLINE_S] = "offline"
            rows[back] = "online"
    return [(vehicle, at, status) for at, status in sorted(rows.items()) if at <= life.end]


def camera_status_rows(life: Life) -> Iterator[Row]:
    """Rows of `camera_status`, in the order of time."""
    vehicle = life.vehicle.id
    rows = {drive.started_at: "online" for drive in life.drives}
    for episode in life.episodes:
        status = CAMERA_STATUS.get(episode.event.cause or "")
        if status:
            rows[episode.event.started_at] = status
            if not episode.going_on:
                rows.setdefault(episode.event.at, "online")
    for at, status in sorted(rows.items()):
        yield vehicle, CAMERA, at, status


def _wanted(life: Life, detail: Detail) -> tuple[float, list[tuple[Drive, float, float, float]]]:
    """Since when every sample is kept, and (drive, from, to, step) round the alerts."""
    since = life.end - detail.sample_hours * HOUR_S
    oldest = life.end - detail.keep_samples_days * 24 * HOUR_S
    drives = {drive.id: drive for drive in life.drives}
    windows = []
    for episode in life.episodes:
        event = episode.event
        close = event.kind in CLOSURES
        # What is sampled anyway needs no more, but a closure a closer look.
        if event.level < Level.WARNING or event.started_at < oldest:
            continue
        if event.started_at >= since and not close:
            continue
        around_s, step_s = (20.0, 1.0) if close else (90.0, 5.0)
        windows.append(
            (drives[event.drive], event.started_at - around_s, event.at + around_s, step_s)
        )
    return since, windows


def _reviews(life: Life, share: float) -> Iterator[Row]:
    """Verdicts: mostly right, given within two days, now and then revised."""
    rng = np.random.default_rng([int(life.end), len(life.episodes), len(life.drives)])
    for episode in life.episodes:
        event = episode.event
        eager = 5.0 if event.level >= Level.WARNING else 1.0
        if event.level < Level.CAUTION or event.kind is Kind.DEGRADED:
            continue
        if rng.random() > share * eager:
            continue
        at = event.at + float(rng.gamma(2.0, 6.0)) * HOUR_S
        for _ in range(2 if rng.random() < 0.04 else 1):
            if at < life.end:
                yield (event.id, REVIEWERS[int(rng.integers(3))], at, *_verdict(episode, rng), None)
            at += HOUR_S


def _verdict(episode: Episode, rng: np.random.Generator) -> tuple[str, str | None]:
    dice = rng.random()
    if dice < 0.05:
        return "unsure", None
    if episode.looked_like and dice < 0.95:
        return "false", episode.looked_like
    return "true", None
