"""Write a simulated fleet into a database: `COPY` into PostgreSQL, `executemany` into SQLite."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Engine, func, select

from monitor.errors import StoreError
from monitor.fleet.admin import partitions
from monitor.fleet.simulator.driver_profile import DAY_S
from monitor.fleet.simulator.multiply import multiply, name_of
from monitor.fleet.simulator.rows import Detail, Row, tables, vehicle_row
from monitor.fleet.simulator.vehicle import Life
from monitor.fleet.simulator.whereabouts import with_whereabouts
from monitor.store import schema, sums

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """Which fleet to simulate.

    Attributes:
        vehicles: how many.
        days: how long, up to `end`.
        end: epoch seconds at which the simulated time ends.
        seed: everything follows from it.
        detail: how much is written.
        distinct: so many live a life of their own and the others copy them; None is all.
    """

    vehicles: int
    days: float
    end: float
    seed: int = 1
    detail: Detail = field(default_factory=Detail)
    distinct: int | None = None

    @property
    def originals(self) -> int:
        """How many live a life of their own."""
        return min(self.distinct or self.vehicles, self.vehicles)

    @property
    def start(self) -> float:
        """Epoch seconds at which the simulated time begins."""
        return self.end - self.days * DAY_S

    def life(self, number: int) -> Life:
        """The life of vehicle `number`, from 1."""
        return Life(self.seed, number, self.start, self.end)


def seed(
    engine: Engine, plan: Plan, progress: Progress = lambda _done, _of: None
) -> dict[str, int]:
    """Write the whole plan, in one transaction.

    Args:
        engine: of a database that is at the current version.
        plan: the fleet.
        progress: called after each vehicle with how many are done, of how many.

    Returns:
        Rows written, by table.

    Raises:
        StoreError: the database already holds vehicles of these names.
    """
    written: dict[str, int] = {}
    with engine.begin() as connection:
        _refuse_twice(connection, plan)
        partitions.ensure(connection, plan.start - DAY_S, plan.end)
        partitions.ensure_ahead(connection, plan.end)
        for done, life_rows in enumerate(_lives(plan), start=1):
            for name, rows in life_rows.items():
                _write(connection, name, rows)
                written[name] = written.get(name, 0) + len(rows)
            progress(done, plan.vehicles)
        sums.fold(connection, wait=True)
        with _in_bulk(connection, written.get("events", 0)):
            copied = multiply(
                connection,
                plan.originals,
                plan.vehicles,
                lambda done: progress(done, plan.vehicles),
            )
        sums.fold(connection, wait=True)
    for name, count in copied.items():
        written[name] = written.get(name, 0) + count
    _analyze(engine)
    return written


@contextmanager
def _in_bulk(connection: Connection, originals: int) -> Iterator[None]:
    """Without indexes and triggers, where nothing but the originals' events is there.

    PostgreSQL makes both at the end, in less time.
    """
    held = connection.scalar(select(func.count()).select_from(schema.events))
    if connection.dialect.name != "postgresql" or held != originals:
        yield
        return
    indexes = [i for i in schema.events.indexes if i.name != "ix_events_vehicle_started"]
    for index in indexes:
        index.drop(connection)
    with sums.without_triggers(connection):
        yield
    for index in indexes:
        index.create(connection)


def everything(plan: Plan, number: int) -> dict[str, list[Row]]:
    """All rows of one vehicle, by table."""
    life = plan.life(number)
    rows = {"vehicles": [vehicle_row(life)], **tables(life, plan.detail)}
    return with_whereabouts(rows, life.whereabouts)


def _lives(plan: Plan) -> Iterable[dict[str, list[Row]]]:
    for number in range(1, plan.originals + 1):
        yield everything(plan, number)


def _refuse_twice(connection: Connection, plan: Plan) -> None:
    names = [name_of(number) for number in range(1, plan.vehicles + 1)]
    table = schema.vehicles
    held = connection.execute(
        select(func.min(table.c.vehicle), func.count()).where(table.c.vehicle.in_(names))
    ).one()
    if held[1]:
        raise StoreError(
            f"the database already holds {held[1]} simulated vehicles ({held[0]} …); "
            "give --database another one, or remove them with `wakeful fleet erase`"
        )


def columns_of(table: str) -> list[str]:
    """The columns a simulated row fills: all but numbers the database hands out itself."""
    return [
        column.name
        for column in schema.metadata.tables[table].columns
        if column.autoincrement is not True
    ]


def _write(connection: Connection, table: str, rows: list[Row]) -> None:
    names = columns_of(table)
    listed = ", ".join(names)
    driver: Any = connection.connection.driver_connection
    if connection.dialect.name == "postgresql":
        with driver.cursor() as cursor, cursor.copy(f"COPY {table} ({listed}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
    else:
        marks = ", ".join("?" * len(names))
        driver.executemany(f"INSERT INTO {table} ({listed}) VALUES ({marks})", rows)  # noqa: S608


def _analyze(engine: Engine) -> None:
    """Let the planner know what is there now; without it the first pages choose badly."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("ANALYZE")
