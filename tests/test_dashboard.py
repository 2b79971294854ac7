"""The pages as a reader gets them: what is shown, what is refused, what a fault looks like."""

import io
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import streamlit as st
from PIL import Image
from sqlalchemy import select
from streamlit.testing.v1 import AppTest
from typer.testing import CliRunner

from dashboard import access, accounts, cli, demo, demo_drive, export, occasion, settings, story
from dashboard.accounts import Role
from dashboard.data import reviews
from dashboard.data.store import Store
from dashboard.trial import MAX_PIXELS, PictureError, decode
from monitor.errors import ConfigError
from monitor.store.schema import samples
from monitor.store.schema import vehicles as vehicle_table
from tests.dashboards import NOW, event, sample, simulated, state, told, vehicle

APP = str(Path(settings.__file__).with_name("app.py"))
PAGES = ["live.py", "events.py", "fleet.py", "compare.py", "replay.py", "health.py"]
HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A home of its own, loopback, and nothing remembered from another test."""
    monkeypatch.setenv("WAKEFUL_HOME", str(tmp_path / "home"))
    for name in (settings.ACCESS_VARIABLE, settings.CONFIG_VARIABLE, settings.DEMO_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    st.config.set_option("server.address", "127.0.0.1")
    yield
    _forget()


def _forget() -> None:
    settings.settings.cache_clear()
    from dashboard import session

    session.close_all()
    st.cache_data.clear()
    st.cache_resource.clear()


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Points the pages at a database."""

    def point(url: str) -> str:
        monkeypatch.setenv("WAKEFUL_STORE__URL", url)
        settings.settings.cache_clear()
        return url

    return point


@pytest.fixture
def log(tmp_path: Path, use: Callable[[str], str]) -> str:
    """An event log of one vehicle that was heard of a second ago."""
    url = use(f"sqlite:///{tmp_path}/log.db")
    now = time.time()
    told(
        url,
        vehicles=[vehicle(state=state(), state_at=now, last_seen_at=now)],
        events=[event(n, started_at=now - 600.0 * n, updated_at=now - 600 * n) for n in (1, 2, 3)],
        samples=[sample(now - 5.0 * n) for n in range(60)],
    )
    return url


@pytest.fixture(scope="session")
def fleet_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("pages")
    return simulated(f"sqlite:///{folder}/fleet.db", vehicles=3, days=4, end=time.time()).url


def opened(page: str = "live.py", **query: str) -> AppTest:
    """A page after its first run."""
    app = AppTest.from_file(APP, default_timeout=60)
    for name, value in query.items():
        app.query_params[name] = value
    if page != "live.py":
        app.switch_page(page)
    return app.run()


def words(app: AppTest) -> str:
    """Everything written on a page."""
    kinds = ("html", "markdown", "caption", "info", "warning", "error", "code", "button", "title")
    found = []
    for kind in kinds:
        for element in app.get(kind):
            proto = element.proto
            text = str(getattr(element, "value", "") or getattr(proto, "body", ""))
            found.append("" if text.startswith("<style>") else text)
            found.append(str(getattr(element, "label", "")))
    return "\n".join(found)


@pytest.mark.parametrize("page", PAGES)
def test_every_page_draws_on_a_fleet(page: str, fleet_url: str, use: Callable[[str], str]) -> None:
    use(fleet_url)
    app = opened(page)
    assert not app.exception
    assert "cannot be shown" not in words(app)
    assert "An aid, not a type-approved system" in words(app)


@pytest.mark.parametrize("page", ["live.py", "events.py", "fleet.py", "health.py"])
def test_an_empty_store_says_what_to_do_next(
    page: str, tmp_path: Path, use: Callable[[str], str]
) -> None:
    told(use(f"sqlite:///{tmp_path}/empty.db"))
    app = opened(page)
    assert not app.exception
    assert "wakeful " in words(app)


@pytest.mark.parametrize("page", ["live.py", "events.py", "fleet.py", "health.py"])
def test_an_unreachable_database_is_a_helpful_page(page: str, use: Callable[[str], str]) -> None:
    use("postgresql://ana:hunter2@127.0.0.1:9/fleet")
    app = opened(page)
    assert not app.exception
    assert "This page cannot be shown now" in words(app)
    assert "hunter2" not in words(app)
    assert "Try again" in words(app)


def test_a_missing_file_offers_the_demo(tmp_path: Path, use: Callable[[str], str]) -> None:
    use(f"sqlite:///{tmp_path}/nothing.db")
    assert "wakeful dashboard --demo" in words(opened())
    assert not (tmp_path / "nothing.db").exists()


def test_one_vehicle_is_shown_at_once(log: str) -> None:
    text = words(opened())
    assert "Attentive" in text
    assert "PERCLOS" in text


def test_a_silent_vehicle_is_not_seen_since_and_never_attentive(
    tmp_path: Path, use: Callable[[str], str]
) -> None:
    url = use(f"sqlite:///{tmp_path}/log.db")
    old = time.time() - 300
    told(url, vehicles=[vehicle(state=state(), state_at=old, last_seen_at=old)])
    text = words(opened())
    assert "Not seen since" in text
    assert "wk-attentive" not in text
    assert "Attentive" not in text


def test_an_impaired_watch_tells_its_cause(tmp_path: Path, use: Callable[[str], str]) -> None:
    url = use(f"sqlite:///{tmp_path}/log.db")
    now = time.time()
    blind = state(degraded=["obscured"], eyes="unknown", perclos=None)
    told(url, vehicles=[vehicle(state=blind, state_at=now, last_seen_at=now)])
    text = words(opened())
    assert "Not monitored" in text
    assert "camera covered" in text.lower()
    assert "Attentive" not in text


def test_html_in_names_and_notes_is_only_text(log: str) -> None:
    now = time.time()
    told(
        log,
        events=[event(9, started_at=now - 60, vehicle=HOSTILE, evidence={HOSTILE: HOSTILE})],
        vehicles=[vehicle(HOSTILE, state=state(emotion=HOSTILE), state_at=now, last_seen_at=now)],
    )
    store = Store(log)
    reviews.add(store, "e0009", HOSTILE, "unsure", None, HOSTILE)
    store.close()
    for app in (opened(), opened("events.py", event="e0009"), opened("fleet.py")):
        assert not app.exception
        drawn = "".join(element.proto.body for element in app.get("html"))
        assert "<img" not in drawn


@pytest.mark.parametrize("hostile", ["e9999", "' OR '1'='1", "../../etc/passwd", HOSTILE, "%00"])
def test_a_link_to_a_foreign_alert_leads_to_a_helpful_page(log: str, hostile: str) -> None:
    app = opened("events.py", event=hostile)
    assert not app.exception
    assert "There is no such alert here" in words(app)


def test_an_alert_tells_why_it_was_raised(log: str) -> None:
    text = words(opened("events.py", event="e0001"))
    assert "The eyes stayed closed for 1.6 s" in text
    assert "?event=e0001" in text


def test_a_review_is_saved_with_its_author_and_shown(log: str) -> None:
    app = opened("events.py", event="e0001")
    app.get("button_group")[0].set_value("false")
    app.run()
    app.get("button_group")[1].set_value("glasses")
    app.run()
    next(button for button in app.button if button.label == "Save review").click()
    app.run()
    store = Store(log)
    (row,) = reviews.history(store, "e0001")
    store.close()
    assert (row["verdict"], row["cause"], row["reviewer"]) == ("false", "glasses", "this desk")
    assert "False alarm: glasses or reflections" in words(app)


@pytest.fixture(scope="session")
def known() -> accounts.Accounts:
    """A viewer, a reviewer and an admin, each with their name thrice as the password."""
    found = accounts.Accounts()
    for name, role in (("vera", Role.VIEWER), ("rita", Role.REVIEWER), ("adam", Role.ADMIN)):
        found = accounts.with_account(found, name, role, f"{name}-{name}-{name}")
    return found


@pytest.fixture
def people(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: accounts.Accounts) -> Path:
    """Their file, and the dashboard using it."""
    file = tmp_path / "access.yaml"
    accounts.write(file, known)
    monkeypatch.setenv(settings.ACCESS_VARIABLE, str(file))
    settings.settings.cache_clear()
    return file


def sign_in(app: AppTest, name: str, password: str | None = None) -> AppTest:
    app.text_input[0].set_value(name)
    app.text_input[1].set_value(password or f"{name}-{name}-{name}")
    next(button for button in app.button if button.label == "Sign in").click()
    return app.run()


def test_nobody_sees_anything_before_signing_in(log: str, people: Path) -> None:
    app = opened("events.py", event="e0001")
    assert "truck-1" not in words(app)
    assert "Sign in" in words(app)


def test_the_linked_page_opens_after_signing_in(log: str, people: Path) -> None:
    app = sign_in(opened("events.py", event="e0001"), "rita")
    assert "The eyes stayed closed" in words(app)
    assert "Save review" in words(app)


def test_a_viewer_looks_and_does_not_judge_or_export(log: str, people: Path) -> None:
    app = sign_in(opened("events.py", event="e0001"), "vera")
    assert "may look, not judge" in words(app)
    assert "Save review" not in words(app)
    assert "Export" not in words(sign_in(opened("events.py"), "vera"))


def test_a_wrong_password_is_refused_and_soon_locked(log: str, people: Path) -> None:
    app = opened()
    for _ in range(5):
        app = sign_in(app, "rita", "wrong")
        assert "do not belong together" in words(app)
    assert "Too many wrong passwords" in words(sign_in(app, "rita"))
    assert "Too many" not in words(sign_in(opened(), "adam")), "another name is not locked"


def test_an_expired_session_asks_again_and_says_why(
    log: str, people: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = sign_in(opened(), "rita")
    nine_hours_on = time.time() + 9 * 3600
    monkeypatch.setattr(access.time, "time", lambda: nine_hours_on)
    app.run()
    assert "Your session has expired" in words(app)
    assert "truck-1" not in words(app)


def test_a_role_that_was_taken_away_is_gone_at_once(log: str, people: Path) -> None:
    app = sign_in(opened(), "rita")
    accounts.write(people, accounts.Accounts())
    app.run()
    assert "truck-1" not in words(app)


class Organisation(dict[str, Any]):
    """Who an OIDC provider says it is."""

    is_logged_in = True


@pytest.mark.parametrize(
    ("told_by_provider", "sees"),
    [
        ({"email": "ben@example.org", "email_verified": True}, "The eyes stayed closed"),
        ({"email": "ben@example.org", "email_verified": False}, "No access yet"),
        ({"email": "eve@example.org", "email_verified": True}, "No access yet"),
        ({}, "No access yet"),
    ],
)
def test_the_organisations_sign_in_gives_the_role_of_the_file(
    log: str,
    people: Path,
    monkeypatch: pytest.MonkeyPatch,
    told_by_provider: dict[str, Any],
    sees: str,
) -> None:
    entered = accounts.with_account(accounts.read(people), "ben@example.org", Role.VIEWER, None)
    accounts.write(people, entered)
    monkeypatch.setattr(access, "_oidc", lambda: True)
    monkeypatch.setattr(st, "user", Organisation(told_by_provider))
    text = words(opened("events.py", event="e0001"))
    assert sees in text
    assert ("truck-1" in text) == (sees == "The eyes stayed closed")


def test_without_accounts_strangers_are_refused(log: str) -> None:
    st.config.set_option("server.address", "0.0.0.0")  # noqa: S104 - that is what is refused
    text = words(opened())
    assert "Closed: there are no accounts" in text
    assert "truck-1" not in text


def test_the_command_refuses_strangers_too(log: str) -> None:
    result = CliRunner().invoke(cli.dashboard, ["--address", "0.0.0.0"])  # noqa: S104
    assert isinstance(result.exception, ConfigError)
    assert "wakeful dashboard passwd" in str(result.exception)


def test_passwd_keeps_a_hash_only_its_owner_can_read(tmp_path: Path) -> None:
    file = tmp_path / "access.yaml"
    arguments = ["passwd", "ana", "--role", "reviewer", "--access", str(file)]
    result = CliRunner().invoke(cli.dashboard, arguments, input="correct horse battery\n")
    assert result.exit_code == 0, result.output
    assert "correct" not in file.read_text()
    assert file.stat().st_mode & 0o077 == 0
    known = accounts.read(file)
    assert known.check("ana", "correct horse battery") == accounts.User("ana", Role.REVIEWER)
    assert known.check("ana", "correct horse batterz") is None
    assert known.check("nobody", "correct horse battery") is None
    CliRunner().invoke(cli.dashboard, ["passwd", "ana", "--remove", "--access", str(file)])
    assert accounts.read(file).users == {}


def test_a_short_password_and_an_unknown_role_are_refused(tmp_path: Path) -> None:
    at = ["--access", str(tmp_path / "access.yaml")]
    short = CliRunner().invoke(cli.dashboard, ["passwd", "ana", *at], input="short\n")
    assert "at least 10" in str(short.exception)
    role = CliRunner().invoke(cli.dashboard, ["passwd", "ana", "--role", "king", *at], input="x\n")
    assert "viewer, reviewer or admin" in str(role.exception)


@pytest.mark.parametrize(
    "content", ["users: [", "users: {ana: {role: king}}", "other: 1", "\xff", "- 1"]
)
def test_a_broken_accounts_file_is_one_clear_line(tmp_path: Path, content: str) -> None:
    file = tmp_path / "access.yaml"
    file.write_bytes(content.encode("latin-1"))
    with pytest.raises(ConfigError, match=r"access\.yaml"):
        accounts.read(file)


@pytest.mark.parametrize("kept", ["", "scrypt$1", "scrypt$99999999$8$1$AA==$AA==", "md5$1$1$1$a$b"])
def test_a_hash_that_is_none_lets_nobody_in(kept: str) -> None:
    assert not accounts.verify("anything", kept)


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
    assert occasion.clip_file(folder, name) is None
    assert occasion.clip_file(folder, "good.mp4") == folder / "good.mp4"


def test_an_export_opens_in_a_spreadsheet_without_running() -> None:
    rows: list[dict[str, Any]] = [{"id": "=cmd()", "note": "+1", "level": 3}, {"id": "fine"}]
    frame = pd.read_csv(io.BytesIO(export.as_csv(rows)))
    assert frame["id"].tolist() == ["'=cmd()", "fine"]
    assert frame["note"].tolist()[0] == "'+1"
    kept = pd.read_parquet(io.BytesIO(export.as_parquet(rows)))
    assert kept["id"].tolist() == ["=cmd()", "fine"]


def _picture(width: int, height: int, form: str = "PNG") -> bytes:
    held = io.BytesIO()
    Image.new("RGB", (width, height), "gray").save(held, form)
    return held.getvalue()


def test_a_large_picture_is_made_small_before_it_is_looked_at() -> None:
    assert max(decode(_picture(4000, 3000, "JPEG")).shape[:2]) == 1280
    small = decode(_picture(64, 48))
    assert small.shape == (48, 64, 3)
    assert small.dtype == np.uint8


@pytest.mark.parametrize("data", [b"", b"GIF89a....", b"\x89PNG\r\n\x1a\nxx", b"<svg/>"])
def test_what_is_no_picture_is_told_in_one_line(data: bytes) -> None:
    with pytest.raises(PictureError, match="not a picture"):
        decode(data)


def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded() -> None:
    side = int(MAX_PIXELS**0.5) + 100
    held = io.BytesIO()
    Image.new("1", (side, side)).save(held, "PNG")
    with pytest.raises(PictureError, match="million"):
        decode(held.getvalue())


@pytest.mark.parametrize(
    ("kind", "evidence", "says"),
    [
        ("microsleep", {"closed_s": 1.7, "nod": True}, "closed for 1.7 s, the head nodded"),
        ("sleep", {"closed_s": 4, "held_over_unknown": True}, "not been seen open since"),
        ("drowsy", {"perclos": 0.161, "coverage": 0.9, "window_s": 60}, "16.1 % of the last 60 s"),
        ("distraction", {"away_s": 3.4, "yaw_deg": -41.0}, "41° to the right"),
        ("distraction", {"away_s": 3.4, "looking_down": True}, "downwards"),
        ("yawning", {"open_s": 4.2, "yawns": 3}, "one of 3 yawns within 10 min"),
        ("absent", {"gone_s": 12.0}, "driver's place for 12.0 s"),
        ("degraded", {"cause": "glare"}, "glare"),
        ("unheard of", {}, "It lasted 1.6 s"),
        ("drowsy", {}, "too large a share"),
    ],
)
def test_the_reason_is_said_in_words(kind: str, evidence: dict[str, Any], says: str) -> None:
    told_event = event(1, kind=kind, evidence=evidence)
    assert says in story.why(told_event)
    assert all(isinstance(value, str) for _, value in story.evidence(told_event))


def test_the_demo_has_a_past_and_goes_on_living(tmp_path: Path) -> None:
    from monitor.store.database import open_engine, upgrade

    url = f"sqlite:///{tmp_path}/demo.db"
    upgrade(url)
    now = float(int(NOW))
    fleet = demo.Fleet(open_engine(url, immediate=True), vehicles=3, days=2, now=now)
    for number in (1, 2, 3):
        fleet.write_past(number)
    store = Store(url)
    last_sample = select(samples.c.at).order_by(samples.c.at.desc()).limit(1)
    assert store.rows(last_sample)[0]["at"] <= now
    for second in range(1, 31):
        fleet.tick(now + second)
    assert now + 25 <= store.rows(last_sample)[0]["at"] <= now + 30
    states = store.rows(select(vehicle_table.c.state_at, vehicle_table.c.availability))
    assert max(row["state_at"] for row in states) == now + 30
    store.close()
    fleet.close()


def test_the_real_drives_alerts_join_the_simulated_fleet(tmp_path: Path) -> None:
    from monitor.store.database import open_engine, upgrade

    drive, url = tmp_path / "drive.db", f"sqlite:///{tmp_path}/demo.db"
    told(
        f"sqlite:///{drive}",
        events=[event(1, vehicle=demo_drive.VEHICLE, clip="e0001.mp4")],
        samples=[sample(NOW, vehicle=demo_drive.VEHICLE, degraded=["glare"])],
    )
    upgrade(url)
    engine = open_engine(url, immediate=True)
    assert demo_drive.join(drive, engine) == 1
    engine.dispose()
    store = Store(url)
    (row,) = store.rows(select(vehicle_table))
    assert (row["vehicle"], row["availability"]) == (demo_drive.VEHICLE, "stopped")
    assert store.rows(select(samples))[0]["degraded"] == ["glare"]
    store.close()
