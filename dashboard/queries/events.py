"""The alerts: a page of them, how many, one with what was measured around it, all for export."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from sqlalchemy import (
    Boolean,
    ColumnElement,
    and_,
    func,
    literal,
    literal_column,
    select,
    true,
    tuple_,
)

from dashboard.queries.database import Database, Record, columns_of
from dashboard.queries.export import ExportRow
from dashboard.queries.reviews import ReviewRow, latest
from monitor.protocol.mapping import evidence_from
from monitor.store.schema import JUDGED, events, reviews, samples
from monitor.types import Kind, Level
from monitor.types.evidence import Evidence

PAGE_ROWS: Final = 50
# Beyond this many a count is "more than 1,000": counting a million rows costs more than a page.
COUNT_CAP: Final = 1_000
EXPORT_ROWS: Final = 100_000
TIMELINE_ROWS: Final = 1_500
# A few in a thousand alerts are of these kinds; the others are looks away and the camera.
RARE: Final = {
    Kind.DROWSY.value,
    Kind.MICROSLEEP.value,
    Kind.SLEEP.value,
    Kind.UNRESPONSIVE.value,
    Kind.ABSENT.value,
}

_e = events.c
# What the list may be sorted by: every column of a sort runs the same way, so that the last row
# of a page is where the next one begins (keyset paging on row values).
SORTS: Final[dict[str, tuple[tuple[ColumnElement[Any], ...], bool]]] = {
    "newest": ((_e.started_at, _e.id), True),
    "oldest": ((_e.started_at, _e.id), False),
    "most urgent": ((_e.level, _e.started_at, _e.id), True),
    "longest": ((_e.duration_s, _e.started_at, _e.id), True),
    "vehicle": ((_e.vehicle, _e.started_at, _e.id), False),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertRow:
    """An alert in a list: columns of `events`, and its latest review.

    Times are epoch seconds; `ended_at` is None while it goes on.
    """

    id: str
    started_at: float
    vehicle: str
    camera: str
    kind: str
    level: int
    phase: str
    updated_at: float
    ended_at: float | None
    duration_s: float
    acknowledged: bool
    clip: str | None
    review: ReviewRow | None = None

    @property
    def until(self) -> float:
        """When it ended, or was last heard of (epoch seconds)."""
        return self.ended_at or self.updated_at


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertDetail(AlertRow):
    """An alert with everything that was stored of it.

    Attributes:
        evidence: what made it; None for a kind that this version does not know.
        received_at: when the fleet's database had it (epoch seconds); None in the vehicle's own.
        driver: the pseudonym that the vehicle was given; None without.
        latitude, longitude: degrees; None where no position was known.
    """

    drive: str
    evidence: Evidence | None
    policy: str
    calibration: str
    models: list[str]
    received_at: float | None
    driver: str | None = None
    latitude: float | None = None
    longitude: float | None = None


@dataclass(frozen=True, slots=True)
class DriverSample:
    """A row of `samples`: what was measured at one moment (`at`, epoch seconds)."""

    vehicle: str
    camera: str
    at: float
    drive: str
    level: int
    kind: str | None
    eyes: str
    openness: float | None
    closure_s: float | None
    perclos: float | None
    fatigue: float | None
    yaw_deg: float | None
    pitch_deg: float | None
    roll_deg: float | None
    emotion: str | None
    fps: float | None
    calibration: float | None
    speed_kmh: float | None
    degraded: list[str]
    driver: str | None = None
    latitude: float | None = None
    longitude: float | None = None


@dataclass(frozen=True, slots=True)
class Filter:
    """Which alerts. Empty means all.

    Attributes:
        vehicles, kinds: one of these.
        without: none of these kinds.
        driver: whose pseudonym it bears.
        min_level: at least this urgent.
        since, until: began within, epoch seconds; `until` is not inside.
        reviewed: False for those nobody has looked at, True for the others.
        verdict: the latest one: true, false or unsure.
        cause: why it was false, by the latest verdict.
    """

    vehicles: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    driver: str | None = None
    min_level: int = 0
    since: float | None = None
    until: float | None = None
    reviewed: bool | None = None
    verdict: str | None = None
    cause: str | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Some alerts in order.

    Attributes:
        rows: the alerts.
        after: where the next page begins; None on the last one.
        before: where the page before this one ends; None on the first.
    """

    rows: list[AlertRow]
    after: str | None
    before: str | None


def page(
    database: Database,
    wanted: Filter,
    sort: str = "newest",
    after: str | None = None,
    before: str | None = None,
) -> Page:
    """One page of alerts.

    Args:
        database: the event log.
        wanted: the filter.
        sort: a key of `SORTS`; anything else is `newest`.
        after, before: as another page's `after` or `before` was; what is no such word begins at
            the start.
    """
    columns, descending = SORTS.get(sort, SORTS["newest"])
    place = _read_place(after, columns)
    back = place is None and (place := _read_place(before, columns)) is not None
    down = descending is not back
    statement = select(*columns_of(events, AlertRow)).where(_where(database, wanted))
    if place is not None:
        row, bound = tuple_(*columns), tuple_(*(literal(value) for value in place))
        statement = statement.where(row < bound if down else row > bound)
    ordered = columns
    if sort == "longest" and _rare(wanted):
        # Few match: sorting those is quicker than walking every alert by its length.
        ordered = (_e.duration_s + 0.0, *columns[1:])
    order = [column.desc() if down else column.asc() for column in ordered]
    rows = database.fetch(AlertRow, statement.order_by(*order).limit(PAGE_ROWS + 1))
    more, rows = len(rows) > PAGE_ROWS, rows[:PAGE_ROWS]
    rows = rows[::-1] if back else rows
    verdicts = latest(database, [row.id for row in rows])
    rows = [replace(row, review=verdicts.get(row.id)) for row in rows]
    if not rows:
        return Page([], None, None)
    later = more or back
    earlier = more if back else place is not None
    return Page(
        rows,
        after=_write_place(rows[-1], columns) if later else None,
        before=_write_place(rows[0], columns) if earlier else None,
    )


def count(database: Database, wanted: Filter) -> int:
    """How many alerts there are, at most `COUNT_CAP` + 1."""
    matching = (
        select(literal(1)).select_from(events).where(_where(database, wanted)).limit(COUNT_CAP + 1)
    )
    return int(
        database.rows(select(func.count().label("n")).select_from(matching.subquery()))[0]["n"]
    )


def any_at_all(database: Database) -> bool:
    """Whether the log holds any alert."""
    first = select(_e.id).where(database.allows(_e.vehicle)).limit(1)
    return database.first(first) is not None


def alert(database: Database, event: str) -> AlertDetail | None:
    """An alert with everything that is stored of it; None for an id that is not there."""
    statement = select(*columns_of(events, AlertDetail)).where(
        _e.id == event, database.allows(_e.vehicle)
    )
    row = database.first(statement)
    return None if row is None else AlertDetail(**{**row, "evidence": _evidence(row)})


def _evidence(row: Record) -> Evidence | None:
    typed = row["kind"] in set(Kind)
    return evidence_from(Kind(row["kind"]), row["evidence"]) if typed else None


def samples_between(
    database: Database, vehicle: str, since: float, until: float, camera: str | None = None
) -> list[DriverSample]:
    """A vehicle's samples in a stretch of time, oldest first, the newest when there are many."""
    s = samples.c
    statement = (
        select(*columns_of(samples, DriverSample))
        .where(database.allows(s.vehicle), s.vehicle == vehicle, s.at >= since, s.at < until)
        .where(s.camera == camera if camera else true())
        .order_by(s.at.desc())
        .limit(TIMELINE_ROWS)
    )
    return database.fetch(DriverSample, statement)[::-1]


def of_vehicle(database: Database, vehicle: str, since: float, until: float) -> list[AlertRow]:
    """A vehicle's alerts that touch a stretch of time, oldest first; at most 500."""
    # The longest alert there is: a bound on the start keeps it inside one index range.
    longest_s = 6 * 3600.0
    statement = (
        select(*columns_of(events, AlertRow))
        .where(_e.vehicle == vehicle, _e.started_at >= since - longest_s, _e.started_at < until)
        .where(func.coalesce(_e.ended_at, _e.updated_at) >= since)
        .where(database.allows(_e.vehicle))
        .order_by(_e.started_at)
        .limit(500)
    )
    return database.fetch(AlertRow, statement)


def export(database: Database, wanted: Filter) -> list[ExportRow]:
    """The newest `EXPORT_ROWS` alerts with provenance, evidence and latest review."""
    columns = [column for column in columns_of(events, ExportRow) if column is not _e.verdict]
    newest = (
        select(*columns)
        .where(_where(database, wanted))
        .order_by(_e.started_at.desc(), _e.id.desc())
        .limit(EXPORT_ROWS)
        .subquery()
    )
    other, r = reviews.alias("other"), reviews.c
    last = select(func.max(other.c.id)).where(other.c.event == newest.c.id).scalar_subquery()
    review = (r.verdict, r.cause, r.reviewer, r.at.label("reviewed_at"), r.note)
    statement = (
        select(newest, *review)
        .select_from(newest.outerjoin(reviews, r.id == last))
        .order_by(newest.c.started_at.desc(), newest.c.id.desc())
    )
    return database.fetch(ExportRow, statement)


def described(wanted: Filter) -> Record:
    """The filter as JSON, for the audit."""
    return {name: value for name, value in asdict(wanted).items() if value}


def kinds() -> list[str]:
    """Every kind of alert, in the order of the ladder."""
    return [kind.value for kind in Kind]


def _rare(wanted: Filter) -> bool:
    """The filter leaves a small part of all alerts."""
    rare_kinds = bool(wanted.kinds) and set(wanted.kinds) <= RARE
    judged_ones = bool(wanted.verdict or wanted.cause)
    named = bool(wanted.vehicles) or wanted.driver is not None
    return named or rare_kinds or judged_ones or wanted.min_level >= Level.CRITICAL


def _where(database: Database, wanted: Filter) -> ColumnElement[bool]:
    clauses: list[ColumnElement[bool]] = [database.allows(_e.vehicle)]
    if wanted.vehicles:
        clauses.append(_e.vehicle.in_(wanted.vehicles))
    if wanted.kinds:
        clauses.append(_e.kind.in_(wanted.kinds))
    if wanted.without:
        clauses.append(_e.kind.not_in(wanted.without))
    if wanted.driver is not None:
        clauses.append(_e.driver == wanted.driver)
    if wanted.min_level > 0:
        clauses.append(_e.level >= wanted.min_level)
    if wanted.since is not None:
        clauses.append(_e.started_at >= wanted.since)
    if wanted.until is not None:
        clauses.append(_e.started_at < wanted.until)
    return and_(true(), *clauses, *_judged(wanted))


def _judged(wanted: Filter) -> Iterator[ColumnElement[bool]]:
    """What the latest review must say, or that there must be one or none."""
    if wanted.reviewed or wanted.verdict or wanted.cause:
        yield literal_column(JUDGED, Boolean)
    elif wanted.reviewed is False:
        yield _e.verdict.is_(None)
    if wanted.verdict:
        yield _e.verdict == wanted.verdict
    if wanted.cause:
        yield _e.verdict_cause == wanted.cause


def _write_place(row: AlertRow, columns: tuple[ColumnElement[Any], ...]) -> str:
    return json.dumps([getattr(row, str(column.key)) for column in columns], separators=(",", ":"))


def _read_place(after: str | None, columns: tuple[ColumnElement[Any], ...]) -> list[Any] | None:
    """Values of a page's last row, each of its column's type; None for anything else."""
    try:
        place = json.loads(after or "null")
    except (ValueError, RecursionError):
        return None
    if not isinstance(place, list) or len(place) != len(columns):
        return None
    for value, column in zip(place, columns, strict=True):
        expected = column.type.python_type
        if isinstance(value, bool) or not isinstance(
            value, (int, float) if expected is float else expected
        ):
            return None
    return place
