"""The dashboard in a real browser: a fleet in PostgreSQL, one vehicle in SQLite, and bad days.

`WAKEFUL_E2E_VEHICLES` and `WAKEFUL_E2E_DAYS` make the fleet larger: 200 and 90 is a million events.
`WAKEFUL_E2E_DATABASE` names a filled database to walk over in place of simulating one.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from dashboard import accounts
from dashboard.accounts import Role
from dashboard.data import rollup
from dashboard.data.store import Store
from tests.browser import Reader, chromium, dashboard
from tests.dashboards import event, sample, simulated, told, vehicle
from tests.drivers import attentive, eyes_closed
from tests.servers import Postgres, free_port

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]
VEHICLES = int(os.environ.get("WAKEFUL_E2E_VEHICLES", "20"))
DAYS = float(os.environ.get("WAKEFUL_E2E_DAYS", "14"))
PAGES = {"": "Live", "events": "Events", "fleet": "Fleet", "models": "Models",
         "replay": "Replay", "health": "Health"}  # fmt: skip
ON_ONE = {"": 1, "events": 0, "fleet": 2, "models": 1, "replay": 1, "health": 0}
CHARTS = {"": 0, "events": 0, "fleet": 4, "models": 1, "replay": 1, "health": 1}


@pytest.fixture(scope="module")
def context() -> Iterator[Any]:
    with chromium(accept_downloads=True) as opened:
        yield opened


@pytest.fixture
def open_reader(context: Any) -> Iterator[Any]:
    readers: list[Reader] = []

    def opened(base: str) -> Reader:
        readers.append(Reader(context.new_page(), base))
        return readers[-1]

    yield opened
    for reader in readers:
        reader.page.close()
        assert reader.faults == []


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state folder with a recorded drive and a clip in it."""
    from monitor.config import TraceConfig
    from monitor.trace import TraceHeader, TraceWriter

    folder = tmp_path_factory.mktemp("home")
    header = TraceHeader("truck-1", "drive-1", "driver", "default", started_at=time.time() - 900)
    writer = TraceWriter(TraceConfig(enabled=True, folder=folder / "traces"), header)
    for given in (attentive(30) + eyes_closed(1.75) + attentive(20)).at(fps=15):
        writer.record(*given)
    writer.close()
    _film(folder / "clips" / "e0001.mp4")
    return folder


def _film(file: Path) -> None:
    import av
    import numpy as np

    file.parent.mkdir()
    with av.open(str(file), "w", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for shade in range(0, 200, 10):
            picture = np.full((120, 160, 3), shade, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "bgr24")))
        container.mux(stream.encode())


@pytest.fixture(scope="module")
def fleet(home: Path) -> Iterator[str]:
    """The dashboard over a simulated fleet in PostgreSQL."""
    if filled := os.environ.get("WAKEFUL_E2E_DATABASE"):
        with dashboard(filled, home) as base:
            yield base
        return
    pytest.importorskip("pgserver")
    server = Postgres()
    url = server.database("fleet")
    simulated(url, vehicles=VEHICLES, days=DAYS, end=time.time())
    store = Store(url)
    rollup.refresh(store, time.time())
    store.close()
    with dashboard(url, home) as base:
        yield base
    server.close()


@pytest.fixture(scope="module")
def desk(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The dashboard over one vehicle's own SQLite, still being watched."""
    url = f"sqlite:///{tmp_path_factory.mktemp('desk')}/log.db"
    now = time.time()
    whose = {"vehicle": "truck-1", "drive": "drive-1", "camera": "driver"}
    # As the watch writes it: nothing came over a network, so that there is no row of `vehicles`.
    told(
        url,
        availability=[{"vehicle": "truck-1", "at": now - 10_800, "status": "online"}],
        coverage=[{**whose, "started_at": now - 10_800, "cause": "monitored", "seconds": 10_800.0}],
        events=[
            event(n, started_at=now - 300.0 * n, updated_at=now - 300.0 * n + 1.6,
                  ended_at=now - 300.0 * n + 1.6, received_at=None,
                  clip="e0001.mp4" if n == 1 else None)
            for n in range(1, 9)
        ],
        # The pages are read for some minutes, while the watch goes on.
        samples=[sample(now + 900.0 - 5.0 * n) for n in range(480)],
    )  # fmt: skip
    with dashboard(url, home) as base:
        yield base


@pytest.mark.parametrize("page", PAGES)
def test_every_page_of_a_fleet_is_drawn(fleet: str, open_reader: Any, page: str) -> None:
    reader = open_reader(fleet).go(page)
    reader.sees(PAGES[page])
    reader.charts(CHARTS[page])
    assert "cannot be shown" not in reader.text()
    assert reader.received < 2_000_000


@pytest.mark.parametrize("page", PAGES)
def test_every_page_of_one_vehicle_is_drawn(desk: str, open_reader: Any, page: str) -> None:
    reader = open_reader(desk).go(page)
    assert "cannot be shown" not in reader.text()
    reader.charts(ON_ONE[page])
    if page == "":
        reader.sees("Attentive")


def test_the_filter_stands_in_the_address_and_a_link_repeats_it(
    fleet: str, open_reader: Any
) -> None:
    # Of a rare kind: of all alerts a large fleet's list says "more than 1,000" for day and week.
    reader = open_reader(fleet).go("events?kinds=Sleep")
    week = reader.count()
    reader.page.get_by_text("24 hours", exact=True).click()
    reader.page.wait_for_url("**time=24*")
    day = reader.counts_other_than(week)
    other = open_reader(fleet)
    other.page.goto(reader.page.url)
    assert other.settled().count() == day
    narrowed = open_reader(fleet).go("events?kinds=Sleep&level=Critical&time=all")
    assert narrowed.count() != day


def test_pages_turn_there_and_back(fleet: str, open_reader: Any) -> None:
    reader = open_reader(fleet).go("events")
    reader.page.get_by_role("button", name="Next").click()
    reader.sees("Page 2")
    reader.page.get_by_role("button", name="Back").click()
    reader.sees("Page 1")


def test_an_alert_is_opened_judged_and_remembered(desk: str, open_reader: Any) -> None:
    reader = open_reader(desk).go("events?event=e0002")
    reader.sees("The eyes stayed closed for 1.6 s")
    reader.charts(1)
    reader.page.get_by_text("False alarm", exact=True).click()
    reader.page.get_by_text("glasses or reflections", exact=True).click()
    reader.page.get_by_placeholder("Note").fill("sun <b>low</b>")
    reader.page.get_by_placeholder("Note").press("Tab")
    reader.page.get_by_role("button", name="Save review").click()
    reader.sees("False alarm: glasses or reflections")
    again = open_reader(desk).go("events?event=e0002")
    again.sees("sun <b>low</b>")
    listed = open_reader(desk).go("events?review=False+alarms&cause=glasses+or+reflections")
    listed.sees("1 alert")


def test_a_click_in_the_list_opens_the_alert(desk: str, open_reader: Any) -> None:
    reader = open_reader(desk).go("events")
    reader.click_cell(150, 60)
    reader.page.wait_for_url("**event=e0001*")
    reader.sees("What was measured around it")


def test_a_clip_plays_in_the_browser(desk: str, open_reader: Any) -> None:
    reader = open_reader(desk).go("events?event=e0001")
    reader.page.wait_for_selector("video")
    reader.page.wait_for_function(
        "() => document.querySelector('video').readyState == 4", timeout=30_000
    )


def test_an_export_holds_what_the_filters_show(desk: str, open_reader: Any, tmp_path: Path) -> None:
    reader = open_reader(desk).go("events")
    reader.page.get_by_role("button", name="Export").click()
    with reader.page.expect_download() as download:
        reader.page.get_by_text("CSV", exact=True).click()
    file = tmp_path / "events.csv"
    download.value.save_as(file)
    lines = file.read_text().strip().splitlines()
    assert len(lines) == 1 + 8
    assert lines[0].startswith("id,started_at,vehicle")


def test_a_dial_changes_the_alerts_and_the_policy_can_be_saved(
    desk: str, open_reader: Any, tmp_path: Path
) -> None:
    from monitor.policy import load_policy

    reader = open_reader(desk).go("replay")
    reader.sees("Both policies raise the same alerts")
    slider = reader.page.get_by_role("slider").nth(1)
    slider.focus()
    for _ in range(4):
        slider.press("ArrowRight")
    reader.sees("1 → 0")
    with reader.page.expect_download() as download:
        reader.page.get_by_role("button", name="Save as a policy file").click()
    file = tmp_path / "mine.yaml"
    download.value.save_as(file)
    assert load_policy(str(file)).closure.microsleep_warn_s == pytest.approx(1.9)


def test_every_model_answers_to_a_picture_side_by_side(
    desk: str, open_reader: Any, tmp_path: Path
) -> None:
    from PIL import Image
    from skimage import data

    face = tmp_path / "face.jpg"
    Image.fromarray(data.astronaut()).save(face)
    reader = open_reader(desk).go("models")
    reader.page.locator("input[type=file]").set_input_files(face)
    reader.sees("the face they saw")
    for answer in ("awake_sleep_n: awake", "poster_v2_s: happiness", "cnn: happiness",
                   "eye_state: eyes open"):  # fmt: skip
        name, said = answer.split(": ")
        reader.page.locator("p", has_text=name).filter(has_text=said).first.wait_for()
    reader.sees("Not asked, because no weights of theirs ship: poster_v2, ")


@pytest.mark.parametrize("junk", ["text", "sixteen bits", "nobody", "huge"])
def test_a_picture_nobody_can_use_is_told_in_words(
    desk: str, open_reader: Any, tmp_path: Path, junk: str
) -> None:
    import numpy as np
    from PIL import Image

    file = tmp_path / ("picture.jpg" if junk == "text" else "picture.png")
    if junk == "text":
        file.write_text("this is no picture\n" * 99)
    elif junk == "sixteen bits":
        Image.fromarray(np.full((200, 200), 40_000, np.uint16)).save(file)
    else:
        side = 8_000 if junk == "huge" else 300
        Image.new("1" if junk == "huge" else "RGB", (side, side)).save(file)
    says = {"text": "is not a picture that can be read", "huge": "at most 40 million"}
    reader = open_reader(desk).go("models")
    reader.page.locator("input[type=file]").set_input_files(file)
    reader.sees(says.get(junk, "No face was found in this picture"))


def test_a_webcam_shot_is_looked_at(desk: str, open_reader: Any) -> None:
    reader = open_reader(desk).go("models")
    reader.page.get_by_text("The webcam", exact=True).click()
    reader.page.get_by_role("button", name="Take Photo").click()
    # Chromium's own test picture: a green disc.
    reader.sees("No face was found in this picture")


def test_from_the_fleet_to_one_vehicle_and_its_alerts(fleet: str, open_reader: Any) -> None:
    reader = open_reader(fleet).go("fleet")
    reader.click_cell(40, 60)
    reader.page.wait_for_url("**of=truck-*")
    reader.sees("the fleet's median is")
    reader.page.get_by_text("Its alerts").click()
    reader.page.wait_for_url("**/events?vehicles=truck-*")


@pytest.mark.parametrize(
    "link", ["events?event=%27%20OR%201%3D1--", "events?event=../../x", "fleet?of=%3Cb%3Ex",
             "?vehicle=%3Cimg%20src%3Dx%3E", "events?kinds=nonsense&sort=;drop&level=99"],
)  # fmt: skip
def test_a_hostile_link_is_a_helpful_page(fleet: str, open_reader: Any, link: str) -> None:
    reader = open_reader(fleet).go(link)
    assert "Traceback" not in reader.text()
    assert reader.page.locator("img[src=x]").count() == 0


@pytest.mark.parametrize("page", PAGES)
def test_nothing_sticks_out_of_a_phone(fleet: str, open_reader: Any, page: str) -> None:
    reader = open_reader(fleet)
    reader.page.set_viewport_size({"width": 390, "height": 844})
    reader.go(page)
    wide = reader.page.evaluate("() => document.documentElement.scrollWidth")
    assert wide <= 390


@pytest.fixture
def guarded_log(tmp_path: Path) -> str:
    """One vehicle's log, and beside it `access.yaml` with two reviewers."""
    url = f"sqlite:///{tmp_path}/log.db"
    told(url, vehicles=[vehicle()], events=[event(1, started_at=time.time() - 60)])
    known = accounts.with_account(accounts.Accounts(), "rita", Role.REVIEWER, "a long password")
    known = accounts.with_account(known, "ben@example.org", Role.REVIEWER, None)
    accounts.write(tmp_path / "access.yaml", known)
    return url


def test_signing_in_returns_to_the_link_and_lasts_over_a_reload(
    home: Path, guarded_log: str, tmp_path: Path, open_reader: Any
) -> None:
    with dashboard(guarded_log, home, "--access", str(tmp_path / "access.yaml")) as base:
        reader = open_reader(base)
        reader.page.goto(f"{base}/events?event=e0001")
        reader.sees("Sign in")
        with reader.page.expect_response(f"{base}/session"):
            _sign_in(reader)
        reader.sees("The eyes stayed closed")
        (cookie,) = [c for c in reader.page.context.cookies() if c["name"] == "wakeful_session"]
        assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
        reader.page.reload()
        reader.sees("The eyes stayed closed")
        other = open_reader(base).go("events?event=e0001")
        other.sees("The eyes stayed closed")
        with reader.page.expect_response(f"{base}/session"):
            reader.page.get_by_role("button", name="Sign out").click()
        reader.page.get_by_label("Password", exact=True).wait_for()
        assert "truck-1" not in reader.text()
        for one in (other, reader):
            one.page.reload()
            one.page.get_by_label("Password", exact=True).wait_for()
            assert "truck-1" not in one.text()
            assert "expired" not in one.text()
            one.page.close()


def test_an_expired_session_says_so_and_opens_the_page_again(
    home: Path, guarded_log: str, tmp_path: Path, open_reader: Any
) -> None:
    with dashboard(guarded_log, home, "--access", str(tmp_path / "access.yaml")) as base:
        reader = open_reader(base)
        old = {"name": "wakeful_session", "value": "of-another-day", "url": base}
        reader.page.context.add_cookies([old])
        reader.page.goto(f"{base}/events?event=e0001")
        reader.sees("Your session has expired")
        _sign_in(reader)
        reader.sees("The eyes stayed closed")
        reader.page.close()
        reader.page.context.clear_cookies()


def _sign_in(reader: Reader) -> None:
    reader.page.get_by_label("Name").fill("rita")
    reader.page.get_by_label("Password", exact=True).fill("a long password")
    reader.page.get_by_role("button", name="Sign in").click()


# The provider's own use of authlib, which streamlit needs newer.
@pytest.mark.filterwarnings("ignore::DeprecationWarning:authlib")
@pytest.mark.filterwarnings("ignore::DeprecationWarning:oidc_provider_mock")
@pytest.mark.filterwarnings("ignore:get_jwt_config:DeprecationWarning")
@pytest.mark.parametrize(
    ("verified", "sees"), [(True, "The eyes stayed closed"), (False, "No access yet")]
)
def test_an_organisations_own_provider_signs_people_in(
    home: Path, guarded_log: str, tmp_path: Path, open_reader: Any, verified: bool, sees: str
) -> None:
    provider = pytest.importorskip("oidc_provider_mock", reason="pip install 'wakeful[dev]'")
    port = free_port()
    claims = {"email": "ben@example.org", "email_verified": verified}
    ben = provider.User(sub="ben", claims=claims)
    with provider.run_server_in_thread(user_claims=[ben]) as organisation:
        secrets = tmp_path / ".streamlit" / "secrets.toml"
        secrets.parent.mkdir()
        secrets.write_text(
            f"""[auth]
redirect_uri = "http://127.0.0.1:{port}/oauth2callback"
cookie_secret = "{"0123456789abcdef" * 4}"
client_id = "wakeful"
client_secret = "of the test"
server_metadata_url = "http://localhost:{organisation.server_port}/.well-known/openid-configuration"
"""
        )
        access = ("--access", str(tmp_path / "access.yaml"))
        with dashboard(guarded_log, home, *access, port=port, HOME=str(tmp_path)) as base:
            reader = open_reader(base)
            reader.page.goto(f"{base}/events?event=e0001")
            reader.page.get_by_role("button", name="Sign in").click()
            reader.page.get_by_role("button", name="ben").click()
            reader.page.wait_for_url(f"{base}/**")
            reader.page.goto(f"{base}/events?event=e0001")
            reader.sees(sees)
            assert ("truck-1" in reader.text()) == verified
            reader.page.get_by_role("button", name="Sign out").click()
            reader.page.get_by_role("button", name="End session").click()
            reader.page.get_by_role("button", name="Sign in").wait_for()
            assert "truck-1" not in reader.text()
            reader.page.close()
            reader.page.context.clear_cookies()


def test_a_database_that_goes_away_is_told_and_comes_back(home: Path, open_reader: Any) -> None:
    pytest.importorskip("pgserver")
    server = Postgres()
    url = server.database("shaky")
    told(url, vehicles=[vehicle()], events=[event(1, started_at=time.time() - 60)])
    with dashboard(url, home) as base:
        reader = open_reader(base).go("events")
        reader.sees("1 alert")
        admin = create_engine(server.database("other"), isolation_level="AUTOCOMMIT")
        _rename(admin, "shaky", "elsewhere")
        reader.go("events?level=Warning+and+up")
        reader.sees("This page cannot be shown now")
        _rename(admin, "elsewhere", "shaky")
        reader.page.get_by_role("button", name="Try again").click()
        reader.sees("1 alert")
        reader.page.close()
        admin.dispose()
    server.close()


def test_an_empty_store_says_on_every_page_what_to_do_next(
    tmp_path: Path, open_reader: Any
) -> None:
    url = f"sqlite:///{tmp_path}/empty.db"
    told(url)
    with dashboard(url, tmp_path) as base:
        for page in ("", "events", "fleet", "replay", "health"):
            reader = open_reader(base).go(page)
            reader.page.locator("code", has_text="wakeful").first.wait_for()
            reader.page.close()


def test_an_unreachable_database_is_told_on_every_page(tmp_path: Path, open_reader: Any) -> None:
    nowhere = f"postgresql://ana:hunter2@127.0.0.1:{free_port()}/fleet"
    with dashboard(nowhere, tmp_path) as base:
        for page in ("", "events", "fleet", "health"):
            reader = open_reader(base).go(page)
            reader.sees("This page cannot be shown now")
            assert "hunter2" not in reader.text()
            reader.page.close()


def _rename(admin: Any, old: str, new: str) -> None:
    with admin.connect() as connection:
        connection.execute(
            text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"),
            {"name": old},
        )
        connection.execute(text(f'ALTER DATABASE "{old}" RENAME TO "{new}"'))
