"""The alerts: a page of them, how many, one with what was measured around it, all for export."""

import json
from dataclasses import asdict, dataclass
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    and_,
    exists,
    func,
    literal,
    select,
    true,
    tuple_,
)

from dashboard.queries.database import Record, Store
from dashboard.queries.reviews import judged, verdicts
from monitor.store.schema import events, reviews, samples
from monitor.types import Kind, Level

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
LISTED: Final = (
    _e.id,
    _e.started_at,
    _e.vehicle,
    _e.kind,
    _e.level,
    _e.phase,
    _e.duration_s,
    _e.acknowledged,
    _e.clip,
)


@dataclass(frozen=True, slots=True)
class Filter:
    """Which alerts. Empty means all.

    Attributes:
        vehicles, kinds: one of these.
        min_level: at least this urgent.
        since, until: began within, epoch seconds; `until` is not inside.
        reviewed: False for those nobody has looked at, True for the others.
        verdict: the latest one: true, false or unsure.
        cause: why it was false, by the latest verdict.
    """

    vehicles: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
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
        rows: `LISTED` columns, and `verdict`, `cause`, `reviewer` of the latest review.
        after: where the next page begins; None on the last one.
    """

    rows: list[Record]
    after: str | None


def page(store: Store, wanted: Filter, sort: str = "newest", after: str | None = None) -> Page:
    """One page of alerts.

    Args:
        store: the event log.
        wanted: the filter.
        sort: a key of `SORTS`; anything else is `newest`.
        after: as a former page's `after` told; what is no such word begins at the start.
    """
    columns, descending = SORTS.get(sort, SORTS["newest"])
    statement = select(*LISTED).where(_where(wanted))
    if (place := _read_place(after, columns)) is not None:
        row, bound = tuple_(*columns), tuple_(*(literal(value) for value in place))
        statement = statement.where(row < bound if descending else row > bound)
    if sort == "longest" and _rare(wanted):
        # Few match: sorting those is quicker than walking every alert by its length.
        columns = (_e.duration_s + 0.0, *columns[1:])
    order = [column.desc() if descending else column.asc() for column in columns]
    rows = store.rows(statement.order_by(*order).limit(PAGE_ROWS + 1))
    more, rows = len(rows) > PAGE_ROWS, rows[:PAGE_ROWS]
    known = verdicts(store, [row["id"] for row in rows])
    nothing = {"verdict": None, "cause": None, "reviewer": None}
    rows = [{**row, **known.get(row["id"], nothing)} for row in rows]
    return Page(rows, _write_place(rows[-1], SORTS.get(sort, SORTS["newest"])[0]) if more else None)


def count(store: Store, wanted: Filter) -> int:
    """How many alerts there are, at most `COUNT_CAP` + 1."""
    found = select(literal(1)).select_from(events).where(_where(wanted)).limit(COUNT_CAP + 1)
    return int(store.rows(select(func.count().label("n")).select_from(found.subquery()))[0]["n"])


def any_at_all(store: Store) -> bool:
    """Whether the log holds any alert."""
    return store.one(select(_e.id).limit(1)) is not None


def one(store: Store, event: str) -> Record | None:
    """An alert with everything that is known of it; None for an id that is not there."""
    found = store.one(select(events).where(_e.id == event))
    if found is None:
        return None
    return {**found, "evidence": _json(found["evidence"]), "models": _json(found["models"])}


def between(
    store: Store, vehicle: str, since: float, until: float, camera: str | None = None
) -> list[Record]:
    """A vehicle's samples in a stretch of time, oldest first, the newest when there are many."""
    s = samples.c
    statement = (
        select(samples)
        .where(s.vehicle == vehicle, s.at >= since, s.at < until)
        .where(s.camera == camera if camera else true())
        .order_by(s.at.desc())
        .limit(TIMELINE_ROWS)
    )
    rows = store.rows(statement)[::-1]
    return [{**row, "degraded": _json(row["degraded"])} for row in rows]


def of_vehicle(store: Store, vehicle: str, since: float, until: float) -> list[Record]:
    """A vehicle's alerts that touch a stretch of time, oldest first; at most 500."""
    # The longest alert there is: a bound on the start keeps it inside one index range.
    longest_s = 6 * 3600.0
    statement = (
        select(*LISTED, _e.ended_at, _e.updated_at)
        .where(_e.vehicle == vehicle, _e.started_at >= since - longest_s, _e.started_at < until)
        .where(func.coalesce(_e.ended_at, _e.updated_at) >= since)
        .order_by(_e.started_at)
        .limit(500)
    )
    return store.rows(statement)


def export(store: Store, wanted: Filter) -> list[Record]:
    """The newest `EXPORT_ROWS` alerts with provenance, evidence and latest verdict."""
    columns = [column for column in _e if column.name != "sequence"]
    newest = (
        select(*columns)
        .where(_where(wanted))
        .order_by(_e.started_at.desc(), _e.id.desc())
        .limit(EXPORT_ROWS)
        .subquery()
    )
    other = reviews.alias("other")
    last = select(func.max(other.c.id)).where(other.c.event == newest.c.id).scalar_subquery()
    statement = (
        select(newest, reviews.c.verdict, reviews.c.cause, reviews.c.reviewer)
        .select_from(newest.outerjoin(reviews, reviews.c.id == last))
        .order_by(newest.c.started_at.desc(), newest.c.id.desc())
    )
    return [
        {**row, "evidence": _text(row["evidence"]), "models": _text(row["models"])}
        for row in store.rows(statement)
    ]


def described(wanted: Filter) -> Record:
    """The filter as JSON, for the audit."""
    return {name: value for name, value in asdict(wanted).items() if value}


def known_kinds() -> list[str]:
    """Kinds of alerts, from the ladder's top to what stands beside it."""
    return [kind.value for kind in Kind]


def _rare(wanted: Filter) -> bool:
    """The filter leaves a small part of all alerts."""
    rare_kinds = bool(wanted.kinds) and set(wanted.kinds) <= RARE
    judged_ones = bool(wanted.verdict or wanted.cause)
    return bool(wanted.vehicles) or rare_kinds or judged_ones or wanted.min_level >= Level.CRITICAL


def _where(wanted: Filter) -> ColumnElement[bool]:
    clauses: list[ColumnElement[bool]] = []
    if wanted.vehicles:
        clauses.append(_e.vehicle.in_(wanted.vehicles))
    if wanted.kinds:
        clauses.append(_e.kind.in_(wanted.kinds))
    if wanted.min_level > 0:
        clauses.append(_e.level >= wanted.min_level)
    if wanted.since is not None:
        clauses.append(_e.started_at >= wanted.since)
    if wanted.until is not None:
        clauses.append(_e.started_at < wanted.until)
    if wanted.verdict or wanted.cause:
        clauses.append(judged(_e.id, wanted.verdict, wanted.cause, wanted.since))
    elif wanted.reviewed is not None:
        looked_at = exists().where(reviews.c.event == _e.id)
        clauses.append(looked_at if wanted.reviewed else ~looked_at)
    return and_(true(), *clauses)


def _write_place(row: Record, columns: tuple[ColumnElement[Any], ...]) -> str:
    return json.dumps([row[column.name] for column in columns], separators=(",", ":"))


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


def _json(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)
