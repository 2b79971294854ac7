"""An alert's page: why it was raised, was it right, its clip, its link, its export."""

import io
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import pytest

from dashboard.components import clip_player, explanation
from dashboard.queries import events as alerts
from dashboard.queries import export, reviews
from dashboard.queries.database import Database
from dashboard.queries.events import DriverSample, Filter
from monitor.policy import load_policy
from monitor.types import Kind
from tests.support.dashboards import HOSTILE, NOW, alert, event, opened, sample, told, words


@pytest.mark.parametrize("hostile", ["e9999", "' OR '1'='1", "../../etc/passwd", HOSTILE, "%00"])
def test_a_link_to_a_foreign_alert_leads_to_a_helpful_page(one_vehicle: str, hostile: str) -> None:
    app = opened("events", event=hostile)
    assert not app.exception
    assert "There is no such alert here" in words(app)


def test_an_alert_tells_why_it_was_raised(one_vehicle: str) -> None:
    text = words(opened("events", event="e0001"))
    assert "The eyes stayed closed for 1.6 s" in text
    assert "?event=e0001" in text


def test_a_review_is_saved_with_its_author_and_shown(one_vehicle: str) -> None:
    app = opened("events", event="e0001")
    app.get("button_group")[0].set_value("false")
    app.run()
    app.get("button_group")[1].set_value("glasses")
    app.run()
    next(button for button in app.button if button.label == "Save review").click()
    app.run()
    store = Database(one_vehicle)
    (row,) = reviews.history(store, "e0001")
    store.close()
    assert (row.verdict, row.cause, row.reviewer) == ("false", "glasses", "this desk")
    assert "False alarm: glasses or reflections" in words(app)


@pytest.mark.parametrize(
    "name", ["../secret.mp4", "/etc/passwd", "link.mp4", "a.txt", "gone.mp4", "..", ""]
)
def test_a_clips_name_leads_nowhere_but_to_clips(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    (tmp_path / "secret.mp4").write_bytes(b"secret")
    (folder / "a.txt").write_text("x")
    (folder / "link.mp4").symlink_to(tmp_path / "secret.mp4")
    (folder / "good.mp4").write_bytes(b"film")
    assert clip_player.clip_file(folder, name) is None
    assert clip_player.clip_file(folder, "good.mp4") == folder / "good.mp4"


def test_an_export_opens_in_a_spreadsheet_without_running() -> None:
    table = pd.DataFrame([{"id": "=cmd()", "note": "+1", "level": 3}, {"id": "fine"}])
    csv = pd.read_csv(io.BytesIO(export.as_csv(table)))
    assert csv["id"].tolist() == ["'=cmd()", "fine"]
    assert csv["note"].tolist()[0] == "'+1"
    parquet = pd.read_parquet(io.BytesIO(export.as_parquet(table)))
    assert parquet["id"].tolist() == ["=cmd()", "fine"]


def test_an_export_tells_times_in_the_readers_zone_and_who_judged(one_vehicle: str) -> None:
    database = Database(one_vehicle)
    reviews.add(database, ["e0002"], "ana", "false", "light", "sun is low")
    rows = alerts.export(database, Filter())
    database.close()
    table = export.frame(rows, ZoneInfo("Europe/Berlin"))
    judged = table[table["id"] == "e0002"].iloc[0]
    assert (judged["level"], judged["verdict"]) == ("warning", "false")
    assert (judged["reviewer"], judged["note"]) == ("ana", "sun is low")
    began = datetime.fromisoformat(judged["started_at"])
    assert began.timestamp() == pytest.approx(judged["started_at_epoch_s"], abs=0.001)
    assert began.utcoffset() in {timedelta(hours=1), timedelta(hours=2)}


@pytest.mark.parametrize(
    ("kind", "evidence", "says"),
    [
        ("microsleep", {"closed_s": 1.7, "nod": True}, "closed for 1.7 s, the head nodded"),
        (
            "sleep",
            {"rule": "closure", "closed_s": 4, "contributions": [["lids", 3.1], ["irises", -1.2]]},
            "strongest signs of closed eyes: lids",
        ),
        ("sleep", {"closed_s": 4, "held_over_unknown": True}, "not been seen open since"),
        ("drowsy", {"perclos": 0.161, "coverage": 0.9, "window_s": 60}, "16.1 % of the last 60 s"),
        ("distraction", {"away_s": 3.4, "yaw_deg": -41.0}, "41° to the right"),
        ("distraction", {"away_s": 3.4, "looking_down": True}, "downwards"),
        ("yawning", {"open_s": 4.2, "yawns": 3}, "one of 3 yawns within 10 min"),
        ("absent", {"gone_s": 12.0}, "driver's place for 12.0 s"),
        ("degraded", {"cause": "glare"}, "glare"),
        ("unheard of", {}, "It lasted 1.6 s"),
        ("drowsy", {}, "too large a part"),
    ],
)
def test_the_reason_is_said_in_words(kind: str, evidence: dict[str, Any], says: str) -> None:
    told_event = alert(1, kind=kind, evidence=evidence)
    assert says in explanation.why(told_event)
    assert all(isinstance(value, str) for _, value in explanation.evidence_pairs(told_event))


def test_the_limit_of_the_policy_it_was_raised_by_is_told(one_vehicle: str) -> None:
    default = load_policy("default")
    raised = event(7, kind="sleep", policy=default.hash, started_at=time.time() - 60)
    told(one_vehicle, events=[raised])
    limit = f"{default.closure.sleep_s:g} s"
    assert f"In its policy the limit is {limit}" in words(opened("events", event="e0007"))
    assert "the limit is" not in words(opened("events", event="e0001")), "an unknown policy"


@pytest.mark.parametrize("kind", [kind.value for kind in Kind])
def test_every_kind_has_a_limit_in_words_or_none(kind: str) -> None:
    limit = explanation.limit(alert(1, kind=kind), load_policy("default"))
    assert limit is None or "the limit is" in limit or "from" in limit or "longer" in limit


@pytest.mark.parametrize(
    ("changes", "samples", "says"),
    [
        ({"evidence": {"closed_s": 1.6, "confidence": 0.5}}, [], "not certain"),
        (
            {"evidence": {"rule": "closure", "closed_s": 1.6, "contributions": [["irises", -1.2]]}},
            [],
            "signs of open eyes: irises",
        ),
        ({"evidence": {"closed_s": 1.6, "held_over_unknown": True}}, [], "out of sight"),
        ({"evidence": {"closed_s": 1.6, "pitch_deg": -21.0}}, [], "lowered by 21°"),
        ({}, [sample(NOW, degraded=["glare"]), sample(NOW + 1)], "badly seen around it: glare"),
        ({"calibration": None}, [], "not learned this driver"),
    ],
)
def test_what_speaks_against_an_alert_is_said(
    changes: dict[str, Any], samples: list[dict[str, Any]], says: str
) -> None:
    (doubt,) = explanation.doubts(
        alert(1, **{"evidence": {}, "calibration": "c", **changes}),
        [DriverSample(**row) for row in samples],
    )
    assert says in doubt


def test_a_clear_alert_has_nothing_against_it(one_vehicle: str) -> None:
    sure = {"closed_s": 1.6, "confidence": 0.9, "pitch_deg": -3.0}
    told(one_vehicle, events=[event(7, evidence=sure, calibration="c")])
    text = words(opened("events", event="e0007"))
    assert "Nothing that was measured speaks against it" in text
    assert "Nobody has judged it yet" in text
