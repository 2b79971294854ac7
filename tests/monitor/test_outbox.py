"""What was committed is delivered; what cannot be is counted; and SIGKILL changes neither."""

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.config import Config
from monitor.protocol.messages import Message
from monitor.sinks.mqtt.delivery import BURST, LONGEST_RESEND_S, WINDOW, Delivery
from monitor.store import Store, open_store, outbox_table, schema
from monitor.store.database import open_engine
from monitor.store.outbox import Outbox
from monitor.store.outbox_table import Pending
from tests.support.events import NOW, alerts, event, settings
from tests.support.paths import ROOT
from tests.support.servers import until


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = open_store(settings(tmp_path))
    yield store
    store.close()


def outbox_of(store: Store) -> Outbox:
    assert store.outbox is not None
    return store.outbox


def test_the_oldest_come_first_without_those_under_way(store: Store) -> None:
    for told in alerts(10):
        store.record(told)
    assert store.flush()
    outbox = outbox_of(store)
    first = outbox.next(4)
    assert [p.sequence for p in first] == [1, 2, 3, 4]
    flying = {p.id for p in first}
    assert [p.sequence for p in outbox.next(4, flying)] == [5, 6, 7, 8]
    assert [p.sequence for p in outbox.next(4, flying, after=8)] == [9, 10]


def test_who_asks_again_and_again_does_not_read_an_empty_table_each_time(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = []
    oldest = outbox_table.oldest
    monkeypatch.setattr(outbox_table, "oldest", lambda *a: reads.append(a) or oldest(*a))
    outbox = outbox_of(store)
    assert outbox.next(9) == []
    assert outbox.next(9) == []
    assert len(reads) == 1
    for alert in alerts(2):
        store.record(alert)
    assert store.flush()
    first, second = outbox.next(9)
    assert outbox.next(9, {first.id, second.id}) == []  # both under way: not an empty table
    assert [p.sequence for p in outbox.next(9)] == [1, 2]


def test_what_is_confirmed_is_gone_and_stays_gone(store: Store) -> None:
    for told in alerts(3):
        store.record(told)
    assert store.flush()
    outbox = outbox_of(store)
    outbox.confirm([outbox.next(1)[0].id])
    assert [p.sequence for p in outbox.next(9)] == [2, 3]
    assert outbox.waiting == 2
    until(lambda: outbox.depth == 2, what="the row deleted")


def test_too_old_a_message_is_dropped_counted_and_told(tmp_path: Path) -> None:
    config = settings(tmp_path)
    with closing(open_store(config)) as store:
        for told in alerts(4):
            store.record(told)
        assert store.flush()
    _edit(config, "UPDATE outbox SET created_at = created_at - 86400 * 300 WHERE sequence <= 3")
    with closing(open_store(config)) as store:
        until(lambda: outbox_of(store).lost == 3, what="three lost")
        assert outbox_of(store).next(1)[0].sequence == 4
    with closing(open_store(config)) as store:
        assert outbox_of(store).lost == 3, "the count survives"


def test_too_large_an_outbox_drops_its_oldest(tmp_path: Path) -> None:
    config = settings(tmp_path, store={"outbox_max_bytes": 100_000})
    with closing(open_store(config)) as store:
        outbox = outbox_of(store)
        for told in alerts(300):
            store.record(told)
        assert store.flush(30)
        until(lambda: outbox.bytes <= 100_000, what="within the limit")
        assert outbox.lost > 0
        assert outbox.lost + outbox.depth == 300
        assert outbox.next(999)[-1].sequence == 300, "the newest are kept"


def _edit(config: Config, statement: str) -> None:
    engine = open_engine(config.store.url, immediate=True)
    with engine.begin() as connection:
        connection.exec_driver_sql(statement)
    engine.dispose()


class Shelf(Outbox):
    """An outbox without a database: what the delivery sees of it."""

    def __init__(self, count: int) -> None:
        super().__init__(10**9, 10**9)
        self.remember([_pending(n + 1) for n in range(count)])


def _pending(number: int) -> Pending:
    return Pending(number, NOW, Message("dms/v1/car-7/alert", b"{}", f"m{number}"))


def _send(delivery: Delivery, now_s: float, mids: Iterator[int]) -> list[int]:
    """Send all that is due; the sequences sent."""
    sent = []
    while due := delivery.due(now_s):
        for pending in due:
            delivery.sent(pending, next(mids), now_s)
            sent.append(pending.sequence)
    return sent


def test_a_broker_s_word_ends_a_delivery_in_broker_mode() -> None:
    shelf, mids = Shelf(5), iter(range(1, 99))
    delivery = Delivery(shelf, "broker", resend_s=3.0)
    assert _send(delivery, 0.0, mids) == [1, 2, 3, 4, 5]
    for mid in range(1, 6):
        delivery.taken(mid)
    assert shelf.waiting == 0
    assert delivery.idle


def test_only_the_fleet_s_word_ends_a_delivery_in_application_mode() -> None:
    shelf, mids = Shelf(3), iter(range(1, 99))
    delivery = Delivery(shelf, "application", resend_s=3.0)
    _send(delivery, 0.0, mids)
    for mid in (1, 2, 3):
        delivery.taken(mid)
    assert shelf.waiting == 3
    assert delivery.wait_s(1.0) == pytest.approx(2.0)
    assert _send(delivery, 2.9, mids) == []
    delivery.acknowledged(["m2", "m99"])
    assert shelf.waiting == 2
    assert _send(delivery, 3.1, mids) == [1, 3], "the others are sent again"


def test_nobody_s_silence_makes_resending_ever_more_seldom() -> None:
    shelf, mids = Shelf(1), iter(range(1, 999))
    delivery = Delivery(shelf, "application", resend_s=3.0)
    times, now_s = [], 0.0
    while now_s < 600:
        if _send(delivery, now_s, mids):
            times.append(now_s)
            delivery.taken(len(times))
        now_s += 1.0
    gaps = [after - before for before, after in pairwise(times)]
    assert gaps[:4] == [3, 6, 12, LONGEST_RESEND_S]
    assert max(gaps) == LONGEST_RESEND_S


def test_new_alerts_go_out_once_though_the_fleet_is_silent() -> None:
    shelf, mids = Shelf(WINDOW + 50), iter(range(1, 9999))
    delivery = Delivery(shelf, "application", resend_s=3.0)
    sent = _send(delivery, 0.0, mids)
    assert sent[:WINDOW] == list(range(1, WINDOW + 1))
    shelf.remember([_pending(5000)])
    assert 5000 in _send(delivery, 0.5, mids)
    assert len(delivery.due(1.0)) == 0


def test_a_lost_connection_means_that_nothing_is_under_way() -> None:
    shelf, mids = Shelf(3), iter(range(1, 99))
    delivery = Delivery(shelf, "broker", resend_s=3.0)
    _send(delivery, 0.0, mids)
    delivery.taken(1)
    delivery.reset()
    assert _send(delivery, 0.1, mids) == [2, 3]


def test_what_the_broker_refuses_is_tried_again_later() -> None:
    shelf, mids = Shelf(1), iter(range(1, 99))
    delivery = Delivery(shelf, "broker", resend_s=3.0)
    _send(delivery, 0.0, mids)
    assert delivery.refused(1, 0.1)
    assert not delivery.refused(77, 0.1)
    assert _send(delivery, 1.0, mids) == []
    assert _send(delivery, 3.2, mids) == [1]


@given(st.lists(st.sampled_from(["send", "puback", "ack", "lose", "wait"]), max_size=60))
def test_whatever_happens_nothing_is_lost_or_stuck(steps: list[str]) -> None:
    shelf, mids = Shelf(BURST + 7), iter(range(1, 99_999))
    delivery = Delivery(shelf, "application", resend_s=3.0)
    stored: set[str] = set()
    flying: list[tuple[int, str]] = []
    now_s = 0.0
    for step in [*steps, "lose"]:
        match step:
            case "send":
                for pending in delivery.due(now_s):
                    mid = next(mids)
                    delivery.sent(pending, mid, now_s)
                    flying.append((mid, pending.id))
            case "puback" if flying:
                mid, id_ = flying.pop(0)
                delivery.taken(mid)
                stored.add(id_)
            case "ack":
                delivery.acknowledged(list(stored))
            case "lose":
                delivery.reset()
                flying.clear()
            case "wait":
                now_s += 5.0
    left = {f"m{n}" for n in _send(delivery, now_s, mids)}
    assert left | stored == {f"m{n + 1}" for n in range(BURST + 7)}


WRITER = """
import os, signal, sys
from pathlib import Path
from monitor.store import open_store
from tests.support.events import event, settings
from monitor.types import Phase

folder, first, point, nth = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
passed = 0

def crash(where):
    global passed
    passed += where == point
    if where == point and passed == nth:
        os.kill(os.getpid(), signal.SIGKILL)

store = open_store(settings(folder), failpoint=crash)
n = first
while True:
    one, end = event(f"e{n}", began_s=n), event(f"e{n}", Phase.END, began_s=n, after_s=1)
    for told in (one, end):
        store.record(told)
    assert store.flush(20)
    print(n, flush=True)  # committed: from here on it may not be lost
    due = store.outbox.next(3)
    for pending in due:
        print(pending.id, flush=True)  # the fleet has stored it
    store.outbox.confirm([pending.id for pending in due[:2]])
    n += 1
"""


def _run_and_kill(folder: Path, first: int, point: str, nth: int, lines: int) -> list[str]:
    """Run a writer until it dies at `point`, or kill it after so many lines; what it said."""
    command = [sys.executable, "-c", WRITER, str(folder), str(first), point, str(nth)]
    said = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout
        for line in process.stdout:
            said.append(line)
            if point == "random" and len(said) == lines:
                time.sleep(random.random() * 0.01)
                process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    return [line.strip() for line in said if line.endswith("\n")]


def _told_of(payload: bytes) -> tuple[str, str]:
    data = json.loads(payload)["data"]
    return data["id"], data["phase"]


def _after_the_crashes(folder: Path) -> tuple[set[tuple[str, str]], set[str], dict[str, Any]]:
    """What the log holds in the end: messages waiting, their ids, and each event's row."""
    config = settings(folder)
    with closing(open_store(config)) as store:
        assert store.flush()
        waiting = outbox_of(store).next(10**6)
    engine = open_engine(config.store.url)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
        found = connection.execute(schema.events.select()).mappings().all()
    engine.dispose()
    told = {_told_of(p.message.payload) for p in waiting}
    return told, {p.id for p in waiting}, {row["id"]: row["phase"] for row in found}


POINTS = [
    "store.before_commit",
    "store.after_commit",
    "outbox.before_delete",
    "outbox.after_delete",
]


@pytest.mark.parametrize("point", POINTS)
def test_a_process_killed_at_a_named_point_loses_and_doubles_nothing(
    tmp_path: Path, point: str
) -> None:
    """At named points."""
    _crash_and_check(tmp_path, [(point, nth) for nth in (1, 2)])


@pytest.mark.slow
def test_a_process_killed_forty_times_loses_and_doubles_nothing(tmp_path: Path) -> None:
    _crash_and_check(tmp_path, [("random", 0)] * 40)


def test_a_process_killed_at_random_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """At any instant."""
    _crash_and_check(tmp_path, [("random", 0)] * 3)


def _crash_and_check(folder: Path, crashes: list[tuple[str, int]]) -> None:
    committed: set[str] = set()
    stored: set[str] = set()
    first = 0
    for point, nth in crashes:
        said = _run_and_kill(folder, first, point, nth, lines=random.randint(3, 120))
        numbers = [int(line) for line in said if line.isdigit()]
        committed |= {event(f"e{n}").id for n in numbers}
        stored |= {line for line in said if "." in line}
        first = max([first, *numbers]) + 1
        first += 1  # the one under way may or may not be there; it must not be used again
    told, waiting, rows = _after_the_crashes(folder)
    assert committed <= rows.keys(), "a committed event is in the log"
    assert set(rows.values()) == {"end"}, "none is left open"
    for id_ in committed:
        for phase in ("start", "end"):
            name = f"{id_}.{phase}.0"
            assert name in waiting or name in stored, "waiting, or stored by the fleet"
    assert {id_ for id_, _ in told} <= rows.keys(), "no message without its event"
