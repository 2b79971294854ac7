"""The weekly report: what it counts, and how it is written as text, HTML and PDF."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from datetime import time as day_time
from functools import cache
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from jinja2 import Environment, FileSystemLoader, Template
from sqlalchemy import ColumnElement, Connection, Engine, and_, func, select, true

from monitor.fleet.notify.config import WeeklyReport
from monitor.fleet.notify.message import Attachment, OutgoingMessage
from monitor.protocol.schemas import MONITORED
from monitor.store import schema
from monitor.types import CAUSES, Cause, Kind, Level

WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
HOUR_S: Final = 3600.0
# Fewer alerts than this say nothing of a vehicle, whatever their interval.
LEAST_ALERTS: Final = 5
SHOWN: Final = 15
# Names of groups: their vehicles are counted, with none of them no vehicle; None is every vehicle.
Groups = tuple[str, ...] | None
_STYLE: Final = (
    "body{font:15px/1.5 sans-serif;color:#222;max-width:46em;margin:1em}"
    "table{border-collapse:collapse}td,th{padding:.25em .8em;border-bottom:1px solid #ddd;"
    "text-align:left}h2{font-size:1.1em;margin-top:1.6em}"
)
_EVENTS, _COVERAGE = schema.events.c, schema.coverage.c


@dataclass(frozen=True, slots=True)
class Rate:
    """Alerts for 100 monitored hours, with its exact 95 % interval (Garwood 1936).

    Attributes:
        alerts: counted.
        hours: monitored.
    """

    alerts: int
    hours: float

    @property
    def value(self) -> float | None:
        """The rate; None without hours."""
        return 100 * self.alerts / self.hours if self.hours > 0 else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Lower and upper end; None without hours."""
        from scipy.stats import chi2  # noqa: PLC0415 - a second to load, once a week

        if self.hours <= 0:
            return None
        lower = chi2.ppf(0.025, 2 * self.alerts) / 2 if self.alerts else 0.0
        upper = chi2.ppf(0.975, 2 * (self.alerts + 1)) / 2
        return float(100 * lower / self.hours), float(100 * upper / self.hours)

    def __str__(self) -> str:
        interval = self.interval
        if interval is None:
            return "unknown: not monitored"
        return f"{self.value:.1f} ({interval[0]:.1f} to {interval[1]:.1f})"


@dataclass(frozen=True, slots=True)
class WeeklyKindCount:
    """Alerts of one kind, this week and the week before."""

    kind: str
    alerts: int
    before: int
    rate: Rate


@dataclass(frozen=True, slots=True)
class VehicleRate:
    """A vehicle's alerts for its hours."""

    name: str
    alerts: int
    hours: float
    rate: Rate


@dataclass(frozen=True, slots=True)
class UnwatchedTime:
    """What kept cameras from watching, for how long, in how many vehicles."""

    cause: str
    hours: float
    vehicles: int


@dataclass(frozen=True, slots=True)
class Week:
    """The counts of one week.

    Attributes:
        year, number: ISO 8601.
        start, end: first and last day.
        vehicles: how many were driven.
        driven_h: hours in which a watch ran.
        watched: share of them without impairment; None when nothing was driven.
        kinds: alerts of level caution and above, by kind, most frequent first.
        above: vehicles whose rate lies above the fleet's with their whole interval.
        unwatched: causes, longest first.
        judged, false_alarms: reviewed alerts of the week.
        coaching_open, coaching_closed: items open now, and closed within the week.
        undelivered: notifications of the week that were given up.
    """

    year: int
    number: int
    start: date
    end: date
    vehicles: int
    driven_h: float
    watched: float | None
    kinds: tuple[WeeklyKindCount, ...]
    above: tuple[VehicleRate, ...]
    unwatched: tuple[UnwatchedTime, ...]
    judged: int
    false_alarms: int
    coaching_open: int
    coaching_closed: int
    undelivered: int


def due(report: WeeklyReport, now: float) -> str:
    """The subject of the report that is due, as `weekly/2026-W48`; empty when none is yet."""
    local = datetime.fromtimestamp(now, UTC).astimezone(ZoneInfo(report.timezone))
    monday = local.date() - timedelta(days=local.weekday())
    day = monday + timedelta(days=WEEKDAYS.index(report.weekday))
    if local < datetime.combine(day, report.at, local.tzinfo):
        return ""
    year, number, _ = (monday - timedelta(days=7)).isocalendar()
    return f"weekly/{year}-W{number:02d}"


def message(
    engine: Engine, message_id: str, subject: str, timezone: str, groups: tuple[str, ...]
) -> OutgoingMessage:
    """The report named by a subject, on vehicles of these groups (empty is all)."""
    year, _, number = subject.removeprefix("weekly/").partition("-W")
    with engine.connect() as connection:
        week = count(connection, int(year), int(number), ZoneInfo(timezone), groups or None)
    text_html = body(week, timezone, groups)
    title = f"Driver monitoring, week {week.number} of {week.year}"
    alerts = sum(line.alerts for line in week.kinds)
    text = (
        f"{title}: {alerts} alerts of level caution or above, {week.vehicles} vehicles, "
        f"{week.driven_h:,.0f} hours driven. The report is attached."
    )
    page = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style></head><body>{text_html}</body></html>"
    )
    name = f"wakeful-{week.year}-W{week.number:02d}.pdf"
    attachment = Attachment(name, pdf(title, text_html), "application/pdf")
    return OutgoingMessage(message_id, title, text, page, (attachment,))


def body(week: Week, timezone: str, groups: Sequence[str]) -> str:
    """The report as HTML, without the page around it.

    Args:
        week: what was counted.
        timezone: in which the week began and ended.
        groups: whose vehicles were counted; empty is all.
    """
    return _template().render(week=week, timezone=timezone, groups=groups)


def count(connection: Connection, year: int, number: int, zone: ZoneInfo, groups: Groups) -> Week:
    """Count a week (ISO 8601) of the log, of the vehicles of these groups."""
    monday = date.fromisocalendar(year, number, 1)
    start, end, earlier = (
        datetime.combine(monday + timedelta(days=days), day_time(), zone).timestamp()
        for days in (0, 7, -7)
    )
    events = and_(_EVENTS.started_at >= start, _EVENTS.started_at < end)
    alerts = _alerts(connection, events, groups)
    before = _alerts(
        connection, and_(_EVENTS.started_at >= earlier, _EVENTS.started_at < start), groups
    )
    seconds = _seconds(connection, start, end, groups)
    watched_h = {v: by.get(MONITORED, 0.0) / HOUR_S for v, by in seconds.items()}
    driven_h = sum(sum(by.values()) for by in seconds.values()) / HOUR_S
    hours = sum(watched_h.values())
    judged, false_alarms = _reviews(connection, events, groups)
    coaching_open, coaching_closed = _coaching(connection, start, end, groups)
    return Week(
        year=year,
        number=number,
        start=monday,
        end=monday + timedelta(days=6),
        vehicles=len(seconds),
        driven_h=driven_h,
        watched=hours / driven_h if driven_h else None,
        kinds=_kinds(alerts, before, hours),
        above=_above(alerts, watched_h),
        unwatched=_unwatched(seconds),
        judged=judged,
        false_alarms=false_alarms,
        coaching_open=coaching_open,
        coaching_closed=coaching_closed,
        undelivered=_undelivered(connection, start, end, groups),
    )


def pdf(title: str, body: str) -> bytes:
    """A page of our own template as PDF."""
    import matplotlib as mpl  # noqa: PLC0415
    from fpdf import FPDF  # noqa: PLC0415

    # The core fonts of PDF know Latin letters alone; matplotlib has the free DejaVu in its wheel.
    fonts = Path(mpl.get_data_path()) / "fonts" / "ttf"
    page = FPDF(format="A4")
    page.set_title(title)
    for style, name in {
        "": "DejaVuSans",
        "B": "DejaVuSans-Bold",
        "I": "DejaVuSans-Oblique",
    }.items():
        page.add_font("DejaVu", style, fonts / f"{name}.ttf")
    page.set_font("DejaVu", size=10)
    page.add_page()
    page.write_html(body, font_family="DejaVu")
    return bytes(page.output())


@cache
def _template() -> Template:
    folder = FileSystemLoader(Path(__file__).parent)
    return Environment(loader=folder, autoescape=True).get_template("weekly.html")


def _among(vehicle: ColumnElement[str], groups: Groups) -> ColumnElement[bool]:
    """Vehicles of these groups; all for None."""
    if groups is None:
        return true()
    table = schema.vehicle_groups.c
    return vehicle.in_(select(table.vehicle).where(table.group_name.in_(groups)))


def _alerts(
    connection: Connection, when: ColumnElement[bool], groups: Groups
) -> Counter[tuple[str, str]]:
    """Alerts of the driver, of level caution and above, by vehicle and kind."""
    query = (
        select(_EVENTS.vehicle, _EVENTS.kind, func.count())
        .where(when, _EVENTS.level >= int(Level.CAUTION), _EVENTS.kind != Kind.DEGRADED.value)
        .where(_among(_EVENTS.vehicle, groups))
        .group_by(_EVENTS.vehicle, _EVENTS.kind)
    )
    return Counter({(vehicle, kind): n for vehicle, kind, n in connection.execute(query)})


def _seconds(
    connection: Connection, start: float, end: float, groups: Groups
) -> dict[str, dict[str, float]]:
    """Seconds of driven time by vehicle and cause; `monitored` is the watched time."""
    query = (
        select(_COVERAGE.vehicle, _COVERAGE.cause, func.sum(_COVERAGE.seconds))
        .where(_COVERAGE.started_at >= start, _COVERAGE.started_at < end)
        .where(_among(_COVERAGE.vehicle, groups))
        .group_by(_COVERAGE.vehicle, _COVERAGE.cause)
    )
    seconds: defaultdict[str, dict[str, float]] = defaultdict(dict)
    for vehicle, cause, value in connection.execute(query):
        seconds[vehicle][cause] = value
    return dict(seconds)


def _kinds(
    alerts: Counter[tuple[str, str]], before: Counter[tuple[str, str]], hours: float
) -> tuple[WeeklyKindCount, ...]:
    now, then = _by_kind(alerts), _by_kind(before)
    kinds = sorted(now.keys() | then.keys(), key=lambda kind: (-now[kind], kind))
    return tuple(
        WeeklyKindCount(Kind(kind).words, now[kind], then[kind], Rate(now[kind], hours))
        for kind in kinds
    )


def _by_kind(alerts: Counter[tuple[str, str]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for (_, kind), n in alerts.items():
        total[kind] += n
    return total


def _above(
    alerts: Counter[tuple[str, str]], watched_h: dict[str, float]
) -> tuple[VehicleRate, ...]:
    total: Counter[str] = Counter()
    for (vehicle, _), n in alerts.items():
        total[vehicle] += n
    fleet = Rate(total.total(), sum(watched_h.values())).value
    if fleet is None:
        return ()
    rates = (
        VehicleRate(name, n, watched_h.get(name, 0.0), Rate(n, watched_h.get(name, 0.0)))
        for name, n in total.items()
        if n >= LEAST_ALERTS
    )
    above = [line for line in rates if (line.rate.interval or (0.0,))[0] > fleet]
    above.sort(key=lambda line: (-(line.rate.value or 0.0), line.name))
    return tuple(above[:SHOWN])


def _unwatched(seconds: dict[str, dict[str, float]]) -> tuple[UnwatchedTime, ...]:
    by_cause: defaultdict[str, list[float]] = defaultdict(list)
    for vehicle in seconds.values():
        for cause, value in vehicle.items():
            if cause != MONITORED and value > 0:
                by_cause[cause].append(value)
    lines = [
        UnwatchedTime(_words(cause), sum(values) / HOUR_S, len(values))
        for cause, values in by_cause.items()
    ]
    return tuple(sorted(lines, key=lambda line: (-line.hours, line.cause))[:SHOWN])


def _words(cause: str) -> str:
    return CAUSES[Cause(cause)].words if cause in set(Cause) else cause.replace("_", " ")


def _reviews(
    connection: Connection, events: ColumnElement[bool], groups: Groups
) -> tuple[int, int]:
    """Alerts of the week with a verdict, and those judged false; the latest verdict counts."""
    table = schema.reviews.c
    latest = select(func.max(table.id)).group_by(table.event)
    query = (
        select(table.verdict, func.count())
        .join(schema.events, _EVENTS.id == table.event)
        .where(events, table.id.in_(latest), _among(_EVENTS.vehicle, groups))
        .group_by(table.verdict)
    )
    verdicts = {row.verdict: row[1] for row in connection.execute(query)}
    return sum(verdicts.values()), verdicts.get("false", 0)


def _coaching(connection: Connection, start: float, end: float, groups: Groups) -> tuple[int, int]:
    """Items that are not closed, and those that were closed in the week."""
    table = schema.coaching.c
    last = select(func.max(table.id)).group_by(table.event)
    query = select(table.status, table.at).where(
        table.id.in_(last), true() if groups is None else table.event.in_(_ids(groups))
    )
    rows = [(status, at) for status, at in connection.execute(query)]
    is_open = sum(status != "closed" for status, _ in rows)
    return is_open, sum(status == "closed" and start <= at < end for status, at in rows)


def _undelivered(connection: Connection, start: float, end: float, groups: Groups) -> int:
    table = schema.notifications
    query = select(func.count()).where(
        table.c.status == "failed",
        table.c.created_at >= start,
        table.c.created_at < end,
        _among(table.c.vehicle, groups),
    )
    return connection.execute(query).scalar_one()


def _ids(groups: Groups) -> ColumnElement[str]:
    return select(_EVENTS.id).where(_among(_EVENTS.vehicle, groups)).scalar_subquery()
