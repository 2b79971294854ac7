"""Monitored time adds up, and what the loop saw is in the log."""

from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from monitor.sinks.store import AROUND_S, LONGEST_STEP_S, MonitoredTime, Sampler, StoreSink
from monitor.store import open_store, schema
from monitor.store.database import open_engine
from monitor.types import Cause, DriverState, Eyes, HeadPose, Level
from tests.support.events import NOW, event, moment, settings


def account_of(states: list[DriverState]) -> dict[str, float]:
    account = MonitoredTime()
    for state in states:
        account.add(state)
    report = account.settle("car-7", "d", "driver")
    return {str(cause): seconds for cause, seconds in report.seconds.items()} if report else {}


def state(at_s: float, *causes: Cause) -> DriverState:
    return DriverState(at_s, NOW + at_s, degraded=causes)


def test_time_belongs_to_the_first_cause_that_impaired_it() -> None:
    states = [state(n) for n in range(11)]
    states += [state(11 + n, Cause.LOW_LIGHT, Cause.NO_FACE) for n in range(5)]
    states += [state(16)]
    assert account_of(states) == {"monitored": 11.0, "low_light": 5.0}


def test_time_without_frames_was_watched_by_nobody() -> None:
    seconds = account_of([state(0), state(1), state(60), state(61)])
    assert seconds == {"monitored": 2.0}


@given(
    st.lists(
        st.tuples(st.floats(0, 3), st.lists(st.sampled_from(list(Cause)), max_size=2)), min_size=2
    )
)
def test_the_account_never_exceeds_the_time(steps: list[tuple[float, list[Cause]]]) -> None:
    at_s, states = 0.0, []
    for step_s, causes in steps:
        at_s += step_s
        states.append(state(at_s, *causes))
    seconds = account_of(states)
    elapsed_s = states[-1].timestamp_s - states[0].timestamp_s
    assert sum(seconds.values()) <= elapsed_s + 1e-6
    # As the clock shows them: a sum of floats need not give the step back.
    taken_s = [b.timestamp_s - a.timestamp_s for a, b in pairwise(states)]
    short = sum(step_s for step_s in taken_s if step_s <= LONGEST_STEP_S)
    assert sum(seconds.values()) == pytest.approx(short, abs=1e-6)


def test_a_stepped_clock_does_not_change_the_account() -> None:
    states = [DriverState(float(n), NOW + n + (3600 if n > 5 else 0)) for n in range(11)]
    account = MonitoredTime()
    for one in states:
        account.add(one)
    report = account.settle("car-7", "d", "driver")
    assert report is not None
    assert (report.started_at, report.ended_at) == (NOW, NOW + 10)


def test_the_loop_leaves_samples_status_and_coverage_in_the_log(tmp_path: Path) -> None:
    config = settings(tmp_path)
    with closing(open_store(config)) as store:
        sink = StoreSink(
            store,
            vehicle="car-7",
            drive="drive-1",
            camera="driver",
            sample_every_s=5.0,
            coverage_every_s=30.0,
        )
        for n in range(10 * 70):
            pose = HeadPose(10.0, -2.0, 0.5)
            sink.on_step(moment(n / 10, level=Level.INFO, pose=pose, speed_kmh=80.0))
        sink.on_event(event())
        sink.close()
        assert sink.trouble() is None
    samples = _rows(config.store.url, schema.samples)
    quiet = [round(row["at"] - NOW) for row in samples if row["at"] < NOW + 70 - AROUND_S - 2]
    assert quiet == list(range(0, 50, 5))
    assert {round(row["at"] - NOW) for row in samples} >= set(range(51, 70))
    assert samples[0]["fps"] is None
    assert samples[1]["fps"] == pytest.approx(10.0)
    assert (samples[1]["yaw_deg"], samples[1]["speed_kmh"]) == (10.0, 80.0)
    reports = _rows(config.store.url, schema.coverage)
    assert [row["cause"] for row in reports] == ["monitored"] * 3
    assert sum(row["seconds"] for row in reports) == pytest.approx(69.9)
    assert [row["status"] for row in _rows(config.store.url, schema.camera_status)] == ["online"]
    assert len(_rows(config.store.url, schema.events)) == 1


def taken(states: list[DriverState], alert_at_s: float | None = None) -> list[float]:
    """Seconds of the drive that get a row; an alert is told at one of them."""
    sampler, found = Sampler(5.0), []
    for one in states:
        if sampler.due(one):
            found += sampler.keep(one.timestamp_s)
        if one.timestamp_s == alert_at_s:
            found += sampler.look_closely()
    return found


def drive(seconds: int, closed: range = range(0)) -> list[DriverState]:
    """Ten frames a second; in the seconds `closed` the eyes are."""
    return [
        DriverState(n / 10, NOW + n / 10, eyes=Eyes.CLOSED if n // 10 in closed else Eyes.OPEN)
        for n in range(10 * seconds)
    ]


def test_while_nothing_happens_a_row_comes_now_and_then() -> None:
    assert taken(drive(60)) == pytest.approx(list(range(0, 60, 5)))


def test_a_closure_between_two_samples_is_seen() -> None:
    found = taken(drive(120, closed=range(61, 64)))
    assert {61, 62, 63} <= {round(at) for at in found}


def test_round_an_alert_there_is_a_row_every_second_before_and_after() -> None:
    found = taken(drive(120), alert_at_s=60.0)
    close = set(range(60 - int(AROUND_S), 61 + int(AROUND_S)))
    assert close <= {round(at) for at in found}
    assert len(found) == len({round(at, 1) for at in found}), "no instant twice"
    later = [at for at in found if at > 60 + AROUND_S]
    assert all(b - a == pytest.approx(5.0) for a, b in pairwise(later))


def test_no_samples_means_none_at_an_alert_either() -> None:
    sampler = Sampler(0.0)
    assert not any(sampler.due(one) for one in drive(30, closed=range(3, 9)))
    assert sampler.look_closely() == []


def _rows(url: str, table: Any) -> list[dict[str, Any]]:
    engine = open_engine(url)
    with engine.connect() as connection:
        found = [dict(row) for row in connection.execute(select(table)).mappings()]
    engine.dispose()
    return found
