"""The weekly report: what it counts, for whom, and that it arrives once as HTML and PDF."""

import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import Engine, insert

from monitor.fleet.config import FleetConfig
from monitor.fleet.notify import weekly
from monitor.fleet.notify.config import NotifyConfig, WeeklyReport
from monitor.fleet.notify.service import Notifier
from monitor.store import schema
from monitor.store.database import open_engine, upgrade
from tests.support.mailbox import Mailbox
from tests.support.servers import fast_folder

HOUR_S, DAY_S = 3600.0, 86_400.0
UTC_ZONE = ZoneInfo("UTC")
# Week 39 of 2026 begins on Monday, 21 September.
MONDAY = datetime(2026, 9, 21, tzinfo=UTC).timestamp()


@pytest.fixture
def engine() -> Iterator[Engine]:
    """Two depots: north's truck-1 drives 100 monitored hours in week 39, south's truck-2 too."""
    with tempfile.TemporaryDirectory(dir=fast_folder()) as folder:
        upgrade(url := f"sqlite:///{folder}/fleet.db")
        opened = open_engine(url, busy_s=30.0, immediate=True)
        groups = {"truck-1": "north", "truck-2": "south"}
        fill(opened, "vehicle_groups", [{"vehicle": v, "group_name": g} for v, g in groups.items()])
        fill(opened, "coverage", [driven(v, c, s) for v in groups for c, s in DRIVEN.items()])
        # 20 of truck-1 within the week, 4 the week before, 1 of truck-2; what is told as info and
        # what is about the camera does not count.
        alerts = [alert(f"a{n}", MONDAY + n * HOUR_S) for n in range(20)]
        alerts += [alert(f"b{n}", MONDAY - DAY_S - n * HOUR_S) for n in range(4)]
        alerts += [alert("c", MONDAY + HOUR_S, vehicle="truck-2", kind="drowsy")]
        alerts += [alert("d", MONDAY + HOUR_S, level=1), alert("e", MONDAY, kind="degraded")]
        alerts += [alert("f", MONDAY + 7 * DAY_S)]
        fill(opened, "events", alerts)
        fill(opened, "reviews", [review("a0", "true"), review("a0", "false"), review("a1", "true")])
        fill(opened, "coaching", [step("a2", "open"), step("a3", "open"), step("a3", "closed")])
        yield opened
        opened.dispose()


DRIVEN = {"monitored": 100 * HOUR_S, "glare": 4 * HOUR_S, "low_light": HOUR_S}


def fill(engine: Engine, table: str, rows: list[dict[str, Any]]) -> None:
    with engine.begin() as connection:
        connection.execute(insert(schema.metadata.tables[table]), rows)


def driven(vehicle: str, cause: str, seconds: float) -> dict[str, Any]:
    return {"vehicle": vehicle, "drive": "d", "camera": "driver", "started_at": MONDAY + 9 * HOUR_S,
            "cause": cause, "seconds": seconds}  # fmt: skip


def alert(event: str, at: float, **changes: Any) -> dict[str, Any]:
    return {
        "id": event, "started_at": at, "vehicle": "truck-1", "drive": "d", "camera": "driver",
        "kind": "microsleep", "phase": "end", "level": 3, "updated_at": at + 2, "duration_s": 2.0,
        "acknowledged": False, "evidence": {}, "policy": "p", "calibration": "", "models": [],
        "changed_at": at, **changes,
    }  # fmt: skip


def review(event: str, verdict: str) -> dict[str, Any]:
    cause = "glasses" if verdict == "false" else None
    return {"event": event, "reviewer": "ana", "at": MONDAY, "verdict": verdict, "cause": cause}


def step(event: str, status: str) -> dict[str, Any]:
    return {"event": event, "at": MONDAY + DAY_S, "actor": "ana", "status": status}


def counted(engine: Engine, groups: weekly.Groups = None) -> weekly.Week:
    with engine.connect() as connection:
        return weekly.count(connection, 2026, 39, UTC_ZONE, groups)


def test_a_week_is_counted_with_the_week_before_beside_it(engine: Engine) -> None:
    week = counted(engine)
    lines = {line.kind: (line.alerts, line.before) for line in week.kinds}
    assert lines == {"Microsleep": (20, 4), "Drowsy": (1, 0)}
    assert (week.vehicles, week.driven_h) == (2, pytest.approx(210.0))
    assert week.watched == pytest.approx(200 / 210)
    assert [(line.cause, line.hours) for line in week.unwatched] == [
        ("glare", pytest.approx(8.0)), ("too dark", pytest.approx(2.0)),
    ]  # fmt: skip
    # The latest verdict counts; an item that was closed is open no longer.
    assert (week.judged, week.false_alarms) == (2, 1)
    assert (week.coaching_open, week.coaching_closed) == (1, 1)


def test_only_who_lies_above_the_fleet_by_more_than_chance_is_named(engine: Engine) -> None:
    (above,) = counted(engine).above
    assert (above.name, above.alerts) == ("truck-1", 20)
    assert above.rate.value == pytest.approx(20.0)
    low, high = above.rate.interval or (0.0, 0.0)
    # Garwood's exact interval of 20 events.
    assert (low, high) == (pytest.approx(12.2, abs=0.1), pytest.approx(30.9, abs=0.1))


def test_a_group_is_told_of_itself_alone_and_no_group_of_nothing(engine: Engine) -> None:
    south = counted(engine, ("south",))
    assert ([line.kind for line in south.kinds], south.vehicles) == (["Drowsy"], 1)
    assert (south.above, south.judged, south.coaching_open) == ((), 0, 0)
    assert "truck-1" not in weekly.body(south, "UTC", ("south",))
    nobody = counted(engine, ())
    assert (nobody.vehicles, nobody.kinds, nobody.watched) == (0, (), None)


@pytest.mark.parametrize(
    ("now", "subject"),
    [
        (MONDAY + 7 * DAY_S + 6.9 * HOUR_S, ""),
        (MONDAY + 7 * DAY_S + 7.1 * HOUR_S, "weekly/2026-W39"),
        (MONDAY + 13 * DAY_S, "weekly/2026-W39"),
    ],
)
def test_it_is_due_from_its_hour_on_until_the_week_is_over(now: float, subject: str) -> None:
    assert weekly.due(WeeklyReport(to=("boss",)), now) == subject


def test_it_arrives_once_as_html_with_a_pdf(engine: Engine) -> None:
    clock = [MONDAY + 7 * DAY_S + 8 * HOUR_S]
    with Mailbox() as mailbox:
        section = {"recipients": {"boss": {"url": mailbox.url, "groups": ["north"]}},
                   "weekly": {"to": ["boss"]}}  # fmt: skip
        config = FleetConfig(notify=NotifyConfig.model_validate(section))
        for _restart in range(2):
            notifier = Notifier(config, engine, clock=lambda: clock[0])
            for _hour in range(3):
                notifier.step()
                notifier.settle()
                clock[0] += HOUR_S
            notifier.close()
    assert mailbox.ids == ["weekly.boss.weekly.2026-W39"]
    (mail,) = mailbox.messages
    page = mail.get_body(("html",))
    assert page is not None
    assert "Groups: north" in page.get_content()
    assert "truck-2" not in page.get_content()
    (pdf,) = mail.iter_attachments()
    assert pdf.get_filename() == "wakeful-2026-W39.pdf"
    assert pdf.get_content().startswith(b"%PDF-")
