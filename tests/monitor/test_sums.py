"""The sums are what the rows say, whatever is done to the rows and in whatever order."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, delete, insert, select, update

from monitor.fleet.admin.operation import Subject, erase, retire
from monitor.fleet.admin.partitions import ensure, month_start, next_month
from monitor.fleet.config import RetentionConfig
from monitor.protocol.mapping import CELL_DEG, cell_of
from monitor.store import schema, sums
from monitor.store.database import open_engine, upgrade
from monitor.store.upsert import ONCE, insert_rows, upsert_events
from monitor.types import Position
from tests.support.dashboards import NOW, event

DAY_S, HOUR_S = sums.DAY_S, sums.HOUR_S
VEHICLES = ("truck-1", "truck-2", "truck-3")
KINDS = ("microsleep", "distraction", "degraded")
Counted = dict[str, Counter[tuple[Any, ...]]]


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def engine(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[Engine]:
    url = f"sqlite:///{tmp_path}/sums.db"
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_url")
    upgrade(url)
    engine = open_engine(url, immediate=True)
    yield engine
    engine.dispose()


# --- what the rows say ---------------------------------------------------------------------------


def recounted(connection: Connection) -> Counted:
    """Every sum made of the rows themselves, in the plainest way."""
    counted: Counted = {table.name: Counter() for table in sums.SUMMED}
    for row in connection.execute(select(schema.events)).mappings():
        _count_event(counted, row)
    for row in connection.execute(select(schema.coverage)).mappings():
        day, hour = _starts(row["started_at"])
        milliseconds = round(1000 * row["seconds"])
        vehicle_day = counted["vehicle_days"]
        vehicle_day[day, row["vehicle"], "driven_ms"] += milliseconds
        if row["cause"] == "monitored":
            vehicle_day[day, row["vehicle"], "monitored_ms"] += milliseconds
        counted["coverage_hours"][hour, row["cause"]] += milliseconds
    _count_availability(counted, connection)
    return {name: Counter({k: n for k, n in by.items() if n}) for name, by in counted.items()}


def _count_event(counted: Counted, row: Any) -> None:
    day, hour = _starts(row["started_at"])
    verdict, level = row["verdict"] or "", ("info", "caution", "warning", "critical")
    counted["event_days"][day, row["camera"], row["kind"], row["level"], verdict] += 1
    if verdict:
        counted["vehicle_days"][day, row["vehicle"], f"verdict_{verdict}"] += 1
    if row["kind"] == "degraded":
        return
    counted["vehicle_days"][day, row["vehicle"], level[row["level"] - 1]] += 1
    counted["event_hours"][hour, row["level"]] += 1
    if row["latitude"] is not None:
        place = cell_of(Position(row["latitude"], row["longitude"]))
        key = day, place["cell_row"], place["cell_column"], row["level"]
        counted["place_days"][key] += 1


def _count_availability(counted: Counted, connection: Connection) -> None:
    table = schema.availability.c
    rows = connection.execute(select(table.vehicle, table.at, table.status)).all()
    for vehicle, at, status in rows:
        later = [other.at for other in rows if other.vehicle == vehicle and other.at > at]
        if later and status in {"online", "offline"}:
            day, _ = _starts(at)
            key = day, vehicle, f"{status}_ms"
            counted["vehicle_days"][key] += round(1000 * (min(later) - at))


def _starts(at: float) -> tuple[float, float]:
    return at // DAY_S * DAY_S, at // HOUR_S * HOUR_S


def latest_reviews(connection: Connection) -> dict[str, tuple[str | None, str | None]]:
    """Each event's verdict and cause as its last review says."""
    reviews = connection.execute(select(schema.reviews).order_by(schema.reviews.c.id)).mappings()
    latest = {row["event"]: (row["verdict"], row["cause"]) for row in reviews}
    return {id_: given for id_, given in latest.items() if given[0] != "withdrawn"}


# --- what the sums say ---------------------------------------------------------------------------


def summed(connection: Connection) -> Counted:
    """Every sum as a page reads it."""
    counted: Counted = {table.name: Counter() for table in sums.SUMMED}
    for table in sums.SUMMED:
        keys = [column.name for column in table.primary_key.columns]
        values = [column.name for column in table.columns if column.name not in keys]
        for row in connection.execute(select(sums.current(table))).mappings():
            for value in values:
                name = (value,) if len(values) > 1 else ()
                counted[table.name][(*(row[key] for key in keys), *name)] += row[value]
    return {name: Counter({k: n for k, n in by.items() if n}) for name, by in counted.items()}


def agree(engine: Engine) -> None:
    with engine.connect() as connection:
        assert summed(connection) == recounted(connection)
        verdicts = connection.execute(
            select(schema.events.c.id, schema.events.c.verdict, schema.events.c.verdict_cause)
        )
        latest = latest_reviews(connection)
        for id_, verdict, cause in verdicts:
            assert (verdict, cause) == latest.get(id_, (None, None))


# --- what is done to the rows --------------------------------------------------------------------

numbers = st.integers(1, 12)
days = st.integers(0, 70)


def _row(number: int, level: int, kind: str, place: int | None, sequence: int) -> dict[str, Any]:
    position = None if place is None else Position(-33.5 + place * CELL_DEG / 3, -0.003 * place)
    return {
        **event(number),
        "started_at": NOW - 6 * DAY_S * number,
        "vehicle": VEHICLES[number % 3],
        "level": level,
        "kind": kind,
        "sequence": sequence,
        "latitude": position and position.latitude_deg,
        "longitude": position and position.longitude_deg,
        **cell_of(position),
        **dict.fromkeys(("clip", "driver", "changed_at", "verdict", "verdict_cause")),
        "redated_from": None,
    }


rows = st.builds(
    _row,
    numbers,
    st.integers(1, 4),
    st.sampled_from(KINDS),
    st.none() | st.integers(-3, 3),
    st.integers(1, 9),
)


def _upsert(connection: Connection, given: list[dict[str, Any]]) -> None:
    batch = {(row["id"], row["started_at"]): row for row in given}
    upsert_events(connection, batch.values())  # type: ignore[arg-type]


def _redate(connection: Connection, number: int, day: int) -> None:
    """A vehicle whose clock was set puts the date of an event right."""
    row = _row(number, 3, "microsleep", 1, sequence=10)
    moved = {"started_at": row["started_at"] - day * DAY_S / 3, "redated_from": row["started_at"]}
    _upsert(connection, [{**row, **moved}])


def _upsert_many(connection: Connection, given: list[dict[str, Any]]) -> None:
    """So many that PostgreSQL takes them by `COPY`."""
    first = given[0]
    _upsert(connection, [*given, *({**first, "id": f"x{n:04d}"} for n in range(25))])


def _review(connection: Connection, number: int, verdict: str) -> None:
    about = {"event": f"e{number:04d}", "reviewer": "anna", "at": NOW, "verdict": verdict}
    cause = "glasses" if verdict == "false" else None
    there = select(schema.events.c.id).where(schema.events.c.id == about["event"])
    if connection.execute(there).first():
        connection.execute(insert(schema.reviews), [{**about, "cause": cause}])


def _unreview(connection: Connection, number: int) -> None:
    """The oldest review goes, as by its age."""
    oldest = select(schema.reviews.c.id).order_by(schema.reviews.c.id).limit(number)
    connection.execute(delete(schema.reviews).where(schema.reviews.c.id.in_(oldest)))


def _report(connection: Connection, number: int, cause: str, seconds: float) -> None:
    row = {
        "vehicle": VEHICLES[number % 3],
        "drive": "drive-1",
        "camera": "driver",
        "started_at": NOW - 6 * DAY_S * number,
        "cause": cause,
        "seconds": seconds,
        "driver": None,
    }
    insert_rows(connection, schema.coverage, [row], ONCE)


def _status(connection: Connection, number: int, day: int, status: str) -> None:
    row = {"vehicle": VEHICLES[number % 3], "at": NOW - day * DAY_S / 5, "status": status}
    insert_rows(connection, schema.availability, [{**row, "until_at": None}], ONCE)


def _delete_event(connection: Connection, number: int) -> None:
    id_ = f"e{number:04d}"
    connection.execute(delete(schema.reviews).where(schema.reviews.c.event == id_))
    connection.execute(delete(schema.events).where(schema.events.c.id == id_))


def _delete_status(connection: Connection, day: int) -> None:
    table = schema.availability
    connection.execute(delete(table).where(table.c.at < NOW - day * DAY_S / 5))


def _clip(connection: Connection, number: int) -> None:
    """A change that no sum is made of."""
    table = schema.events
    connection.execute(update(table).where(table.c.id == f"e{number:04d}").values(clip="c.mp4"))


def _step(name: str, *arguments: Any) -> tuple[str, tuple[Any, ...]]:
    return name, arguments


steps = st.one_of(
    st.builds(_step, st.just("upsert"), st.lists(rows, min_size=1, max_size=5)),
    st.builds(_step, st.just("upsert_many"), st.lists(rows, min_size=1, max_size=2)),
    st.builds(
        _step,
        st.just("review"),
        numbers,
        st.sampled_from(["true", "false", "unsure", "withdrawn"]),
    ),
    st.builds(_step, st.just("unreview"), st.integers(1, 3)),
    st.builds(
        _step,
        st.just("report"),
        numbers,
        st.sampled_from(["monitored", "glare"]),
        st.floats(0, 4000).map(lambda seconds: round(seconds, 3)),
    ),
    st.builds(
        _step, st.just("status"), numbers, days, st.sampled_from(["online", "offline", "stopped"])
    ),
    st.builds(_step, st.just("redate"), numbers, st.integers(1, 70)),
    st.builds(_step, st.just("delete_event"), numbers),
    st.builds(_step, st.just("delete_status"), days),
    st.builds(_step, st.just("clip"), numbers),
    st.builds(_step, st.just("erase"), numbers),
    st.builds(_step, st.just("retire"), days),
    st.builds(_step, st.just("partitions"), days),
    st.builds(_step, st.just("fold")),
)
IN_ONE_TRANSACTION = {
    "upsert": _upsert,
    "upsert_many": _upsert_many,
    "redate": _redate,
    "review": _review,
    "unreview": _unreview,
    "report": _report,
    "status": _status,
    "delete_event": _delete_event,
    "delete_status": _delete_status,
    "clip": _clip,
    "fold": sums.fold,
}


def _do(engine: Engine, name: str, arguments: tuple[Any, ...]) -> None:
    if name == "erase":
        vehicle = VEHICLES[arguments[0] % 3]
        with engine.begin() as connection:
            _status(connection, arguments[0], 1, "online")
        erase(engine, Subject(vehicle), "anna", NOW)
        with engine.connect() as connection:
            for table in (schema.vehicle_days, *sums.JOURNALS):
                theirs = select(table).where(table.c.vehicle == vehicle)
                assert connection.execute(theirs).first() is None
    elif name == "retire":
        keep = arguments[0] + 1.0
        config = RetentionConfig(
            samples_days=1,
            info_days=keep,
            degraded_days=keep,
            alerts_days=keep,
            coverage_days=keep,
            history_days=keep,
        )
        retire(engine, config, NOW)
    elif name == "partitions":
        start = month_start(NOW - arguments[0] * DAY_S)
        with engine.begin() as connection:
            ensure(connection, start, next_month(start) - 1)
    else:
        with engine.begin() as connection:
            IN_ONE_TRANSACTION[name](connection, *arguments)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(done=st.lists(steps, min_size=1, max_size=14))
def test_sums_are_what_the_rows_say_after_anything(engine: Engine, done: list[Any]) -> None:
    _empty(engine)
    for name, arguments in done:
        _do(engine, name, arguments)
        agree(engine)
    with engine.begin() as connection:
        sums.fold(connection, wait=True)
        assert all(connection.execute(select(journal)).first() is None for journal in sums.JOURNALS)
    agree(engine)
    with engine.begin() as connection:
        before = summed(connection)
        sums.rebuild(connection)
        assert summed(connection) == before


def _empty(engine: Engine) -> None:
    with engine.begin() as connection:
        for table in (schema.reviews, schema.events, schema.coverage, schema.availability):
            connection.execute(delete(table))
        for table in (*sums.JOURNALS, *sums.SUMMED):
            connection.execute(delete(table))
