"""The live page: who needs attention, and what never looks fine."""

import re
import time
from collections.abc import Callable
from pathlib import Path

from tests.support.dashboards import event, opened, sample, state, told, vehicle, words


def test_one_vehicle_is_shown_at_once(one_vehicle: str) -> None:
    text = words(opened())
    assert "Attentive" in text
    assert "PERCLOS" in text


def test_a_silent_vehicle_is_not_seen_since_and_never_attentive(
    tmp_path: Path, pages_over: Callable[[str], str]
) -> None:
    url = pages_over(f"sqlite:///{tmp_path}/log.db")
    old = time.time() - 300
    told(url, vehicles=[vehicle(state=state(), state_at=old, last_seen_at=old)])
    text = words(opened())
    assert "No signal since" in text
    assert "wk-attentive" not in text
    assert "Attentive" not in text


def test_an_impaired_watch_tells_its_cause(
    tmp_path: Path, pages_over: Callable[[str], str]
) -> None:
    url = pages_over(f"sqlite:///{tmp_path}/log.db")
    now = time.time()
    blind = state(degraded=["obscured"], eyes="unknown", perclos=None)
    told(url, vehicles=[vehicle(state=blind, state_at=now, last_seen_at=now)])
    text = words(opened())
    assert "Not monitored" in text
    assert "camera covered" in text.lower()
    assert "Attentive" not in text


def test_a_card_says_for_how_long_the_alert_has_been_open(
    tmp_path: Path, pages_over: Callable[[str], str]
) -> None:
    url, now = pages_over(f"sqlite:///{tmp_path}/log.db"), time.time()
    asleep = state(level="critical", kind="sleep", eyes="closed", closure_s=95.0)
    heard = {"state_at": now, "last_seen_at": now}
    told(
        url,
        vehicles=[
            vehicle("truck-1", state=asleep, **heard),
            vehicle("truck-2", state=state(), **heard),
        ],
        events=[
            event(1, kind="sleep", phase="start", started_at=now - 95.0, ended_at=None),
            event(2, kind="sleep", started_at=now - 3000.0),
        ],
    )
    assert re.search(r"for 1 min 3\d s · eyes closed", words(opened()))


def test_a_vehicles_own_log_knows_that_its_drive_has_ended(
    tmp_path: Path, pages_over: Callable[[str], str]
) -> None:
    """In it nothing came over a network: no row of `vehicles`, samples and a history."""
    url, now = pages_over(f"sqlite:///{tmp_path}/log.db"), time.time()
    history = [("online", now - 600), ("stopped", now - 300)]
    told(
        url,
        samples=[sample(now - 300 - 5.0 * n) for n in range(60)],
        availability=[{"vehicle": "truck-1", "at": at, "status": word} for word, at in history],
    )
    text = words(opened())
    assert "Stopped 5 min ago" in text
    assert "Attentive" not in text
