"""The weekly report of the notifier, counted for a reader of the dashboard."""

from datetime import UTC, date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from dashboard.queries.database import Database
from monitor.fleet.notify import weekly
from monitor.fleet.notify.weekly import Week

WEEKS: Final = 8


def weeks(now: float, zone: ZoneInfo) -> dict[str, str]:
    """The last `WEEKS` whole weeks before `now` (epoch seconds), the latest first, in words.

    Keys are ISO 8601 weeks, as `2026-W48`.
    """
    today = datetime.fromtimestamp(now, UTC).astimezone(zone).date()
    mondays = [today - timedelta(days=today.weekday() + 7 * n) for n in range(1, WEEKS + 1)]
    return {f"{day:%G-W%V}": f"{day:%d %b} to {_sunday(day):%d %b %Y}" for day in mondays}


def report(database: Database, week: str, timezone: str) -> Week:
    """What happened in a week (as `2026-W48`, of a time zone) to the vehicles that may be seen."""
    year, _, number = week.partition("-W")
    groups = database.scope.groups
    with database.explained(), database.engine.connect() as connection:
        return weekly.count(
            connection,
            int(year),
            int(number),
            ZoneInfo(timezone),
            None if groups is None else tuple(sorted(groups)),
        )


def _sunday(monday: date) -> date:
    return monday + timedelta(days=6)
