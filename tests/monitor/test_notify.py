"""Telling people: what concerns whom, each once, through crashes and servers that are away."""

import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, insert, select, update

from monitor.errors import ConfigError
from monitor.fleet.config import FleetConfig, load_fleet
from monitor.fleet.notify.config import NotifyConfig, NotifyRule
from monitor.fleet.notify.queue import LOOK_BACK_S
from monitor.fleet.notify.rules import Incident, concerns, recipients
from monitor.fleet.notify.service import Notifier
from monitor.store import schema
from monitor.store.database import open_engine, upgrade
from monitor.types import Kind, Level
from tests.support.mailbox import Mailbox, Webhook
from tests.support.paths import ROOT
from tests.support.servers import fast_folder, until

NOON = 1_790_000_000.0  # 21 September 2026, a Monday, 14:13 UTC
HOUR_S = 3600.0


def an_incident(**changes: Any) -> Incident:
    values: dict[str, Any] = {
        "id": "e1",
        "vehicle": "truck-1",
        "kind": Kind.SLEEP,
        "level": Level.CRITICAL,
        "started_at": NOON,
        "duration_s": 4.2,
        "ended": True,
        "driver": None,
        "groups": frozenset({"north"}),
    }
    return Incident(**{**values, **changes})


def config_with(
    urls: dict[str, str], rules: dict[str, dict[str, Any]], **notify: Any
) -> FleetConfig:
    """Settings of a fleet whose recipients are reached at these addresses."""
    limits = notify.pop("limits", {})
    reached = {
        name: {"url": url, **({"groups": limits[name]} if name in limits else {})}
        for name, url in urls.items()
    }
    section = {"retry_s": (5.0, 300.0), **notify, "recipients": reached, "rules": rules}
    return FleetConfig(notify=NotifyConfig.model_validate(section))


@pytest.fixture
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """Of an empty SQLite file, or where a test asks for it of a PostgreSQL."""
    with tempfile.TemporaryDirectory(dir=fast_folder()) as folder:
        postgres = getattr(request, "param", "sqlite") == "postgres"
        url = f"sqlite:///{folder}/fleet.db"
        url = str(request.getfixturevalue("postgres_url")) if postgres else url
        upgrade(url)
        opened = open_engine(url, busy_s=60.0, immediate=True)
        yield opened
        opened.dispose()


class Fleet:
    """The database as the ingesters fill it, and a clock."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.now = engine, NOON

    def has(self, event: str, **changes: Any) -> None:
        """An event is stored now."""
        row = {
            "id": event, "started_at": self.now - 5, "vehicle": "truck-1", "drive": "d",
            "camera": "driver", "kind": "sleep", "phase": "end", "level": 4,
            "updated_at": self.now, "duration_s": 4.2, "acknowledged": False, "evidence": {},
            "policy": "p", "calibration": "", "models": [], "changed_at": self.now, **changes,
        }  # fmt: skip
        with self.engine.begin() as connection:
            connection.execute(insert(schema.events).values(row))

    def climbs(self, event: str, **changes: Any) -> None:
        """A stored event moves forward now."""
        table = schema.events
        with self.engine.begin() as connection:
            connection.execute(
                update(table).where(table.c.id == event).values(changed_at=self.now, **changes)
            )

    def puts(self, vehicle: str, group: str) -> None:
        with self.engine.begin() as connection:
            connection.execute(
                insert(schema.vehicle_groups).values(vehicle=vehicle, group_name=group)
            )

    def rows(self) -> list[Any]:
        with self.engine.connect() as connection:
            table = schema.notifications
            return list(connection.execute(select(table).order_by(table.c.id)).all())

    def notifier(self, config: FleetConfig) -> Notifier:
        return Notifier(config, self.engine, clock=lambda: self.now)

    def steps(self, notifier: Notifier, seconds: float = 0.0, every_s: float = 1.0) -> None:
        """The notifier's loop turns for so many seconds."""
        end = self.now + seconds
        while True:
            notifier.step()
            notifier.settle()
            if self.now >= end:
                return
            self.now = min(self.now + every_s, end)


@pytest.fixture
def fleet(engine: Engine) -> Fleet:
    return Fleet(engine)


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with Mailbox() as opened:
        yield opened


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    with Webhook() as opened:
        yield opened


URGENT = {"urgent": {"to": ["boss"], "level": "warning"}}


@pytest.mark.parametrize(
    ("rule", "incident", "holds"),
    [
        ({"level": "critical"}, {"level": Level.WARNING}, False),
        ({"level": "critical"}, {}, True),
        ({"kinds": ["drowsy"]}, {}, False),
        ({"kinds": ["sleep", "drowsy"]}, {}, True),
        ({"groups": ["south"]}, {}, False),
        ({"groups": ["south", "north"]}, {}, True),
        # 14:13 in UTC is 16:13 in Berlin's summer.
        ({"between": ["16:00", "17:00"], "timezone": "Europe/Berlin"}, {}, True),
        ({"between": ["16:00", "17:00"]}, {}, False),
        ({"between": ["22:00", "15:00"]}, {}, True),
        ({"between": ["22:00", "06:00"]}, {}, False),
        ({"weekdays": ["mon"]}, {}, True),
        ({"weekdays": ["tue", "sun"]}, {}, False),
    ],
)
def test_a_rule_is_about_kinds_levels_groups_and_times(
    rule: dict[str, Any], incident: dict[str, Any], holds: bool
) -> None:
    settings = NotifyRule.model_validate({"to": ["boss"], **rule})
    assert concerns(settings, an_incident(**incident)) is holds


def test_nobody_learns_of_a_vehicle_outside_their_groups() -> None:
    config = config_with(
        {"boss": "json://h", "depot": "json://h"},
        {"all": {"to": ["boss", "depot"]}},
        limits={"depot": ["south"]},
    ).notify
    assert recipients("all", an_incident(), config) == ["boss"]
    assert recipients("all", an_incident(groups=frozenset({"south"})), config) == ["boss", "depot"]
    assert recipients("all", an_incident(groups=frozenset()), config) == ["boss"]


def test_what_is_new_reaches_mail_and_webhook_once(
    fleet: Fleet, mailbox: Mailbox, webhook: Webhook
) -> None:
    fleet.has("before")
    config = config_with(
        {"boss": mailbox.url, "desk": webhook.url},
        {"urgent": {"to": ["boss", "desk"]}},
        dashboard_url="https://fleet.example.org/",
    )
    fleet.now += 1
    notifier = fleet.notifier(config)
    fleet.now += 1
    fleet.has("e1", driver="d-17")
    fleet.puts("truck-1", "north")
    fleet.steps(notifier, seconds=30)
    # A restart sends none of it again, and an event that was there before is no news.
    notifier.close()
    again = fleet.notifier(config)
    fleet.steps(again, seconds=30)
    again.close()
    assert mailbox.ids == ["urgent.boss.e1"]
    mail = mailbox.messages[0]
    assert mail["Subject"] == "Sleep (critical): truck-1"
    text = mail.get_content()
    assert "Groups: north" in text
    assert "Driver: d-17" in text
    assert "https://fleet.example.org/events?event=e1" in text
    assert webhook.ids == ["urgent.desk.e1"]
    assert webhook.bodies[0]["event"] == "e1"
    assert webhook.bodies[0]["level"] == "critical"


def test_an_event_is_told_when_it_climbs_to_what_a_rule_is_about(
    fleet: Fleet, mailbox: Mailbox
) -> None:
    notifier = fleet.notifier(config_with({"boss": mailbox.url}, URGENT))
    fleet.now += 1
    fleet.has("e1", kind="microsleep", level=2, phase="start")
    fleet.steps(notifier, seconds=5)
    assert not mailbox.messages
    fleet.climbs("e1", kind="sleep", level=4)
    fleet.steps(notifier, seconds=5)
    fleet.climbs("e1", phase="end")
    fleet.steps(notifier, seconds=5)
    notifier.close()
    assert [mail["Subject"] for mail in mailbox.messages] == ["Sleep (critical): truck-1"]
    assert "not over yet" in mailbox.messages[0].get_content()


def test_a_row_whose_ingester_was_slow_to_commit_is_not_missed(
    fleet: Fleet, mailbox: Mailbox
) -> None:
    notifier = fleet.notifier(
        config_with({"boss": mailbox.url}, {"r": {"to": ["boss"], "repeat_s": 0}})
    )
    fleet.now += LOOK_BACK_S
    fleet.has("quick")
    fleet.steps(notifier)
    # Stamped before the other, seen after it.
    fleet.has("slow", changed_at=fleet.now - 60)
    fleet.steps(notifier)
    notifier.close()
    assert sorted(mailbox.ids) == ["r.boss.quick", "r.boss.slow"]


def test_repeats_are_held_back_and_counted(fleet: Fleet, mailbox: Mailbox) -> None:
    rules = {"urgent": {"to": ["boss"], "repeat_s": 600}}
    notifier = fleet.notifier(config_with({"boss": mailbox.url}, rules))
    for number in range(4):
        fleet.now += 60
        fleet.has(f"e{number}")
        fleet.steps(notifier)
    fleet.has("other", vehicle="truck-2")
    fleet.steps(notifier)
    fleet.now += 600
    fleet.has("later")
    fleet.steps(notifier)
    notifier.close()
    assert mailbox.ids == ["urgent.boss.e0", "urgent.boss.other", "urgent.boss.later"]
    assert "3 more of this kind were held back" in mailbox.messages[-1].get_content()
    assert "held back" not in mailbox.messages[0].get_content()


def test_a_mail_server_that_is_away_for_an_hour_delays_and_loses_nothing(
    fleet: Fleet, webhook: Webhook
) -> None:
    mailbox = Mailbox()
    config = config_with(
        {"boss": mailbox.url, "desk": webhook.url}, {"r": {"to": ["boss", "desk"], "repeat_s": 0}}
    )
    notifier = fleet.notifier(config)
    for number in range(12):
        fleet.now += 1
        fleet.has(f"e{number}")
        fleet.steps(notifier, seconds=HOUR_S / 12 - 1, every_s=20)
        # Nobody else waits for it.
        assert len(webhook.ids) == number + 1
    assert "boss" in notifier.health()["troubles"]
    attempts = sum(row.attempts for row in fleet.rows() if row.recipient == "boss")
    assert attempts < HOUR_S / config.notify.retry_s[1] + 10
    with mailbox:
        fleet.steps(notifier, seconds=config.notify.retry_s[1] + 1, every_s=20)
        notifier.close()
    assert Counter(mailbox.ids) == Counter(f"r.boss.e{n}" for n in range(12))
    assert notifier.health()["troubles"] == {}


def test_a_message_that_a_server_never_takes_is_given_up_and_shown(fleet: Fleet) -> None:
    config = config_with({"boss": Mailbox().url}, URGENT, give_up_s=HOUR_S)
    notifier = fleet.notifier(config)
    fleet.now += 1
    fleet.has("e1")
    fleet.steps(notifier, seconds=2 * HOUR_S, every_s=60)
    notifier.close()
    (row,) = fleet.rows()
    assert row.status == "failed"
    assert "mail server" in row.error
    assert "watch@" not in row.error


def test_what_was_erased_is_not_told(fleet: Fleet, mailbox: Mailbox) -> None:
    mailbox.close()
    notifier = fleet.notifier(config_with({"boss": mailbox.url}, URGENT))
    fleet.now += 1
    fleet.has("e1")
    fleet.steps(notifier, seconds=10)
    with fleet.engine.begin() as connection:
        connection.execute(schema.events.delete())
    mailbox.open()
    fleet.steps(notifier, seconds=30)
    notifier.close()
    assert not mailbox.messages
    assert [row.status for row in fleet.rows()] == ["failed"]


def test_two_notifiers_share_the_work(fleet: Fleet, mailbox: Mailbox) -> None:
    config = config_with({"boss": mailbox.url}, {"r": {"to": ["boss"], "repeat_s": 0}})
    pair = fleet.notifier(config), fleet.notifier(config)
    for number in range(20):
        fleet.now += 1
        fleet.has(f"e{number}")
        for notifier in pair:
            notifier.step()

    def finished() -> bool:
        for notifier in pair:
            fleet.steps(notifier)
        return all(row.status == "sent" for row in fleet.rows())

    until(finished, what="all is sent")
    for notifier in pair:
        notifier.close()
    assert Counter(mailbox.ids) == Counter(f"r.boss.e{n}" for n in range(20))


# A process that imports once and forks a notifier again and again, each killed at a random point:
# before a message is sent, after it, or by a timer anywhere else. An event comes between two kills.
# The timer counts processor time, so that a busy machine does not kill before there was work.
KILLED = """
import json, os, random, signal, sys, time
from sqlalchemy import insert
from monitor.fleet.config import FleetConfig
from monitor.fleet.notify.config import NotifyConfig
from monitor.fleet.notify.service import Notifier
from monitor.store import schema
from monitor.store.database import open_engine

url, section, kills = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3])
config = FleetConfig(notify=NotifyConfig.model_validate(section))

def happens(event):
    engine = open_engine(url, busy_s=60.0, immediate=True)
    now = time.time()
    with engine.begin() as connection:
        connection.execute(insert(schema.events).values(
            id=event, started_at=now - 5, vehicle=event, drive="d", camera="driver", kind="sleep",
            phase="end", level=4, updated_at=now, duration_s=4.2, acknowledged=False, evidence={},
            policy="p", calibration="", models=[], changed_at=now))
    engine.dispose()

def work(turn):
    chance = random.Random(turn)
    signal.setitimer(signal.ITIMER_PROF, chance.uniform(0.02, 0.3))
    def failpoint(name):
        if chance.random() < 0.2:
            os.kill(os.getpid(), signal.SIGKILL)
    notifier = Notifier(config, open_engine(url, busy_s=60.0, immediate=True), failpoint=failpoint)
    while True:
        notifier.step()

for turn in range(kills):
    happens(f"e{turn}")
    child = os.fork()
    if not child:
        work(turn)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) in (-signal.SIGKILL, -signal.SIGPROF)
"""
KILLS = 200


def through_kills(fleet: Fleet, section: dict[str, Any]) -> None:
    """A notifier is killed `KILLS` times while events come; the last one may finish."""
    config = FleetConfig(notify=NotifyConfig.model_validate(section))
    Notifier(config, fleet.engine).close()
    url = fleet.engine.url.render_as_string(hide_password=False)
    command = [sys.executable, "-c", KILLED, url, json.dumps(section), str(KILLS)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=1700)
    last = Notifier(config, fleet.engine)

    def finished() -> bool:
        last.step()
        last.settle()
        return all(row.status not in {"pending", "sending"} for row in fleet.rows())

    until(finished, deadline_s=60, what="all is sent")
    last.close()


def a_section(mailbox: Mailbox, webhook: Webhook, **recipient: Any) -> dict[str, Any]:
    return {
        "recipients": {
            "boss": {"url": mailbox.url, **recipient},
            "desk": {"url": webhook.url, **recipient},
        },
        "rules": {"r": {"to": ["boss", "desk"]}},
        "lease_s": 0.5,
    }


BOTH = pytest.mark.parametrize(
    "engine", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True
)


@BOTH
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_hundred_kills_forget_nothing_and_a_repeat_is_known_by_its_id(
    fleet: Fleet, mailbox: Mailbox, webhook: Webhook
) -> None:
    through_kills(fleet, a_section(mailbox, webhook))
    begun = {f"{row.rule}.{row.recipient}.{row.subject}": row.attempts for row in fleet.rows()}
    for name, ids in (("boss", mailbox.ids), ("desk", webhook.ids)):
        arrived = Counter(ids)
        assert set(arrived) == {f"r.{name}.e{number}" for number in range(KILLS)}
        # Only what a kill left in doubt came again, under the same id.
        assert all(n <= begun[id_] for id_, n in arrived.items())
        assert sum(n > 1 for n in arrived.values()) < KILLS / 2


@BOTH
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_hundred_kills_send_nothing_twice_to_whom_no_repeat_may_go(
    fleet: Fleet, mailbox: Mailbox, webhook: Webhook
) -> None:
    through_kills(fleet, a_section(mailbox, webhook, repeat_in_doubt=False))
    for name, ids in (("boss", mailbox.ids), ("desk", webhook.ids)):
        assert max(Counter(ids).values()) == 1
        doubtful = {
            row.subject for row in fleet.rows() if row.recipient == name and row.status == "failed"
        }
        sent = {
            row.subject for row in fleet.rows() if row.recipient == name and row.status == "sent"
        }
        # Each is either sent or shown as in doubt.
        assert sent | doubtful == {f"e{number}" for number in range(KILLS)}
        assert {id_.rpartition(".")[2] for id_ in ids} >= sent


def test_an_address_belongs_into_no_settings_file(tmp_path: Path) -> None:
    file = tmp_path / "fleet.yaml"
    file.write_text(
        "notify:\n  recipients:\n    boss: {url: 'mailto://u:secret@h'}\n"
        "  rules:\n    r: {to: [boss]}\n"
    )
    with pytest.raises(ConfigError, match=r"boss\.url: .* url_file") as error:
        load_fleet(file)
    assert "secret" not in str(error.value)


def test_an_address_comes_from_a_file_or_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "boss.url").write_text("json://one\n")
    file = tmp_path / "fleet.yaml"
    file.write_text(
        f"notify:\n  recipients:\n    boss: {{url_file: {tmp_path / 'boss.url'}}}\n    desk: {{}}\n"
        "  rules:\n    r: {to: [boss, desk]}\n"
    )
    monkeypatch.setenv("WAKEFUL_FLEET_NOTIFY__RECIPIENTS__DESK__URL", "json://two")
    found = load_fleet(file).notify.recipients
    assert {name: r.address(name) for name, r in found.items()} == {
        "boss": "json://one", "desk": "json://two",
    }  # fmt: skip
    assert "two" not in repr(found)


@pytest.mark.parametrize(
    ("section", "reason"),
    [
        ({"rules": {"r": {"to": ["nobody"]}}}, "no recipient nobody"),
        ({"weekly": {"to": ["nobody"]}}, "no recipient nobody"),
        ({"weekly": {"timezone": "Berlin"}}, "no such time zone"),
    ],
)
def test_a_wrong_setting_is_one_line(section: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        load_fleet(None, notify=section)


def test_an_unknown_address_is_refused_without_showing_it(engine: Engine) -> None:
    with pytest.raises(ConfigError, match="boss") as error:
        Notifier(config_with({"boss": "nonsense://u:secret@h"}, URGENT), engine)
    assert "secret" not in str(error.value)
