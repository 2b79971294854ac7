"""Running a fleet's database: what is kept how long, and a vehicle's data given out or erased."""

import gzip
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Table,
    and_,
    delete,
    func,
    insert,
    not_,
    null,
    or_,
    select,
    tuple_,
    update,
)

from monitor.clock import SET_AT, UNTIL_AT
from monitor.errors import StoreError
from monitor.fleet.admin.partitions import DELETE_BATCH, PARTITIONED, drop_before, ensure_ahead
from monitor.fleet.config import RetentionConfig
from monitor.store import schema, sums
from monitor.store.database import insert as insert_into
from monitor.types import Kind, Level

DAY_S = 86_400.0
_EVENTS = schema.events.c


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose data: a vehicle's, that of one of its drives alone, or a driver's in any vehicle.

    A driver is a pseudonym that vehicles were told; who it stands for is known to the operator's
    own roster.
    """

    vehicle: str = ""
    drive: str | None = None
    driver: str | None = None

    @property
    def whole_vehicle(self) -> bool:
        """Everything of a vehicle."""
        return self.drive is None and self.driver is None

    def of(self, table: Table) -> ColumnElement[bool] | None:
        """The rows of a table that are the subject's; None if it holds nothing of such."""
        if self.driver is not None:
            return table.c.driver == self.driver if "driver" in table.c else None
        if self.drive is None:
            return table.c.vehicle == self.vehicle
        if "drive" not in table.c:
            return None
        return and_(table.c.vehicle == self.vehicle, table.c.drive == self.drive)

    def __str__(self) -> str:
        if self.driver is not None:
            return f"driver {self.driver}"
        return f"{self.vehicle}/{self.drive}" if self.drive else self.vehicle


@dataclass(frozen=True, slots=True)
class Standing:
    """A vehicle at a glance."""

    vehicle: str
    availability: str
    last_seen_at: float
    clock_skew_s: float | None
    events: int


def vehicles(engine: Engine, now: float) -> list[Standing]:
    """Every vehicle, with its events of the last day."""
    table = schema.vehicles.c
    recent = (
        select(_EVENTS.vehicle, func.count().label("events"))
        .where(_EVENTS.started_at >= now - DAY_S)
        .group_by(_EVENTS.vehicle)
        .subquery()
    )
    query = (
        select(
            table.vehicle,
            table.availability,
            table.last_seen_at,
            table.clock_skew_s,
            func.coalesce(recent.c.events, 0),
        )
        .outerjoin(recent, recent.c.vehicle == table.vehicle)
        .order_by(table.vehicle)
    )
    with engine.connect() as connection:
        return [Standing(*row) for row in connection.execute(query)]


def join_group(engine: Engine, group: str, vehicles: Sequence[str], actor: str, now: float) -> int:
    """Put vehicles into a group, made with its first one; returns how many were not in it."""
    table = schema.vehicle_groups
    rows = [{"vehicle": vehicle, "group_name": group} for vehicle in vehicles]
    with engine.begin() as connection:
        new = connection.execute(
            insert_into(connection.dialect.name, table).on_conflict_do_nothing(), rows
        ).rowcount
        _audit_group(connection, "group join", group, vehicles, actor, now)
    return new


def leave_group(engine: Engine, group: str, vehicles: Sequence[str], actor: str, now: float) -> int:
    """Take vehicles out of a group, which is gone with its last one; returns how many were in."""
    table = schema.vehicle_groups.c
    with engine.begin() as connection:
        gone = connection.execute(
            delete(schema.vehicle_groups).where(
                table.group_name == group, table.vehicle.in_(vehicles)
            )
        ).rowcount
        _audit_group(connection, "group leave", group, vehicles, actor, now)
    return gone


def _audit_group(
    connection: Connection,
    action: str,
    group: str,
    vehicles: Sequence[str],
    actor: str,
    now: float,
) -> None:
    detail = {"vehicles": list(vehicles)}
    connection.execute(
        insert(schema.audit).values(
            at=now, actor=actor, action=action, subject=group, detail=detail
        )
    )


def maintain(engine: Engine, config: RetentionConfig, now: float) -> dict[str, int]:
    """Make the partitions of the coming months and let go of what is too old.

    Returns:
        Rows that went, by what they were.
    """
    with engine.begin() as connection:
        ensure_ahead(connection, now)
    return retire(engine, config, now) if config.enabled else {}


def retire(engine: Engine, config: RetentionConfig, now: float) -> dict[str, int]:
    """Let go of what is older than its kind is kept: whole partitions first, then rows in batches.

    Args:
        engine: of the fleet's database.
        config: days by kind.
        now: epoch seconds.

    Returns:
        Rows that went, by what they were.
    """
    longest = max(config.info_days, config.degraded_days, config.alerts_days)
    keep_days = {
        "events": longest,
        "samples": config.samples_days,
        "coverage": config.coverage_days,
    }
    gone = {}
    for name in PARTITIONED:
        with engine.begin() as connection:
            gone[f"{name} in whole partitions"] = drop_before(
                connection, name, now - keep_days[name] * DAY_S
            )
    for what, table, old in _too_old(config, now):
        gone[what] = _delete_in_batches(engine, table, old)
    with engine.begin() as connection:
        sums.fold(connection)
        sums.sweep(connection)
    return {what: rows for what, rows in gone.items() if rows}


def _too_old(
    config: RetentionConfig, now: float
) -> Iterator[tuple[str, Table, ColumnElement[bool]]]:
    def before(days: float) -> float:
        return now - days * DAY_S

    degraded = _EVENTS.kind == Kind.DEGRADED.value
    info = and_(_EVENTS.level <= int(Level.INFO), ~degraded)
    alert = and_(_EVENTS.level > int(Level.INFO), ~degraded)
    events = schema.events
    yield "samples", schema.samples, schema.samples.c.at < before(config.samples_days)
    yield "info events", events, and_(info, _began(before(config.info_days)))
    yield "degraded events", events, and_(degraded, _began(before(config.degraded_days)))
    yield "alerts", events, and_(alert, _began(before(config.alerts_days)))
    longest = max(config.info_days, config.degraded_days, config.alerts_days)
    for table in (schema.reviews, schema.comments, schema.coaching):
        yield table.name, table, table.c.at < before(longest)
    sent = schema.notifications
    yield sent.name, sent, sent.c.created_at < before(longest)
    coverage = schema.coverage
    # Monitored time of a clock that was not set has no age.
    began = coverage.c.started_at
    too_old = and_(began >= SET_AT, began < before(config.coverage_days))
    yield "coverage", coverage, too_old
    for table in (schema.availability, schema.camera_status):
        yield table.name, table, table.c.at < before(config.history_days)
    letters = schema.dead_letters
    yield "dead letters", letters, letters.c.at < before(config.dead_letters_days)


def _began(before: float) -> ColumnElement[bool]:
    """Events older than `before`; one of a clock that was not set or broken, by its arrival."""
    started, arrived = _EVENTS.started_at, _EVENTS.received_at
    dated = and_(started >= SET_AT, started < UNTIL_AT)
    return or_(and_(dated, started < before), and_(not_(dated), arrived < before))


def _delete_in_batches(engine: Engine, table: Table, where: ColumnElement[bool]) -> int:
    key = tuple_(*table.primary_key.columns)
    some = select(*table.primary_key.columns).where(where).limit(DELETE_BATCH)
    gone = 0
    while True:
        with engine.begin() as connection:
            rows = connection.execute(delete(table).where(key.in_(some))).rowcount
        gone += rows
        if rows < DELETE_BATCH:
            return gone


def export(
    engine: Engine, subject: Subject, folder: Path, actor: str, now: float
) -> dict[str, int]:
    """Write everything that is held about a vehicle (or a drive) as gzipped JSON lines.

    Args:
        engine: of the fleet's database.
        subject: whose data.
        folder: made if need be; one file a table. Readable by its owner alone.
        actor: who asked, for the audit.
        now: epoch seconds.

    Returns:
        Rows written, by table.

    Raises:
        StoreError: nothing is held about the subject, or the folder cannot be written.
    """
    with engine.begin() as connection:
        _must_exist(connection, subject)
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            sums.fold(connection, wait=True)
            written = {
                table.name: _write_lines(connection, table, where, folder)
                for table, where in (*_holdings(connection, subject), *_sums_of(subject))
            }
        except OSError as error:
            raise StoreError(f"{folder}: cannot be written ({error.strerror})") from None
        _audit(connection, "export", subject, actor, now, {"rows": written, "folder": str(folder)})
    return written


def erase(
    engine: Engine,
    subject: Subject,
    actor: str,
    now: float,
    clips: Path | None = None,
    forget: Callable[[str], None] = lambda _vehicle: None,
) -> dict[str, int]:
    """Erase everything that is held about a vehicle (or a drive); only the audit row remains.

    Args:
        engine: of the fleet's database.
        subject: whose data.
        actor: who asked, for the audit.
        now: epoch seconds.
        clips: folder of the clips that the events name; their files go too.
        forget: called with the vehicle once its rows are gone, to clear what a broker retains.

    Returns:
        Rows gone by table, and `files`.

    Raises:
        StoreError: nothing is held about the subject.
    """
    with engine.begin() as connection:
        _must_exist(connection, subject)
        files = _remove_clips(connection, subject, clips) if clips else 0
        # Reviews first: they are found by the events they are about.
        gone = {
            table.name: connection.execute(delete(table).where(where)).rowcount
            for table, where in reversed(list(_holdings(connection, subject)))
        }
        if subject.driver is not None:
            gone["vehicles"] = _forget_live(connection, subject.driver)
        gone["files"] = files
        # The triggers took what went out of the sums; now no row of them names the vehicle either.
        sums.fold(connection, wait=True)
        sums.sweep(connection)
        _audit(connection, "erase", subject, actor, now, {"gone": gone})
    _compact(engine)
    if subject.whole_vehicle:
        forget(subject.vehicle)
    return gone


def _holdings(
    connection: Connection, subject: Subject
) -> Iterator[tuple[Table, ColumnElement[bool]]]:
    """Every table that may hold something of the subject's, and which rows."""
    for table in (
        schema.events,
        schema.samples,
        schema.coverage,
        schema.availability,
        schema.camera_status,
        schema.vehicles,
    ):
        where = subject.of(table)
        if where is not None:
            yield table, where
    if subject.driver is not None:
        letters = _dead_letters_naming(connection, subject.driver)
        yield schema.dead_letters, schema.dead_letters.c.id.in_(letters)
    if subject.whole_vehicle:
        topic = schema.dead_letters.c.topic
        yield schema.dead_letters, topic.contains(f"/{subject.vehicle}/", autoescape=True)
        yield schema.outbox, schema.outbox.c.topic.contains(f"/{subject.vehicle}/", autoescape=True)
        groups = schema.vehicle_groups
        yield groups, groups.c.vehicle == subject.vehicle
    theirs = select(_EVENTS.id).where(subject.of(schema.events))  # type: ignore[arg-type]
    for table in (schema.reviews, schema.comments, schema.coaching, schema.clip_requests):
        yield table, table.c.event.in_(theirs)
    yield schema.notifications, schema.notifications.c.subject.in_(theirs)


def _sums_of(subject: Subject) -> Iterator[tuple[Table, ColumnElement[bool]]]:
    """What is added up of a vehicle. It follows the rows: nothing of it is ever erased itself."""
    if subject.whole_vehicle:
        table = schema.vehicle_days
        yield table, table.c.vehicle == subject.vehicle


def _forget_live(connection: Connection, driver: str) -> int:
    """Vehicles whose latest state names the driver keep no state; returns how many did."""
    table = schema.vehicles.c
    named = table.state["signals"]["Vehicle.Driver.Identifier.Subject"].as_string() == driver
    return connection.execute(update(schema.vehicles).where(named).values(state=null())).rowcount


def _dead_letters_naming(connection: Connection, driver: str) -> list[int]:
    """Refused messages whose bytes name this driver."""
    letters = connection.execute(select(schema.dead_letters.c.id, schema.dead_letters.c.payload))
    return [id_ for id_, payload in letters if f'"{driver}"'.encode() in payload]


def _must_exist(connection: Connection, subject: Subject) -> None:
    for table, where in _holdings(connection, subject):
        if connection.execute(select(1).select_from(table).where(where).limit(1)).first():
            return
    raise StoreError(f"nothing is held about {subject}; see `wakeful fleet status` for the names")


def _write_lines(
    connection: Connection, table: Table, where: ColumnElement[bool], folder: Path
) -> int:
    path = folder / f"{table.name}.jsonl.gz"
    rows = 0
    with path.open("wb") as raw, gzip.open(raw, "wt", encoding="utf-8") as lines:
        path.chmod(0o600)
        for row in connection.execute(select(table).where(where)).mappings():
            lines.write(json.dumps(dict(row), default=_plain) + "\n")
            rows += 1
    return rows


def _plain(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _remove_clips(connection: Connection, subject: Subject, folder: Path) -> int:
    named = select(_EVENTS.clip).where(subject.of(schema.events), _EVENTS.clip.is_not(None))  # type: ignore[arg-type]
    gone = 0
    for name in connection.execute(named).scalars():
        # A clip's name comes from a vehicle: its last part alone, so that no path leads out.
        path = folder / Path(name).name
        if path.is_file():
            path.unlink()
            gone += 1
    return gone


def _audit(
    connection: Connection, action: str, subject: Subject, actor: str, now: float, detail: object
) -> None:
    connection.execute(
        insert(schema.audit).values(
            at=now, actor=actor, action=action, subject=str(subject), detail=detail
        )
    )


def _compact(engine: Engine) -> None:
    """Deleted rows stay in the files until they are written over; this writes over them."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql("VACUUM")
            return
    raw = engine.raw_connection()
    try:
        raw.cursor().execute("VACUUM")
        raw.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        raw.close()
