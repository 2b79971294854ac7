"""The charts, as functions from rows to altair; colours are the theme's, times the reader's."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

import altair as alt
import pandas as pd

from dashboard.components import theme
from dashboard.queries.fleet import CauseCoverage
from dashboard.queries.health import LagRow
from monitor.types import Level

Chart = Any
DAY_S: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class DailyRate:
    """Alerts of a level on a day (UTC; its start, epoch seconds), and per 100 monitored hours."""

    day: float
    level: int
    events: int
    rate: float


@dataclass(frozen=True, slots=True)
class WeekCell:
    """An hour of the week, `weekday` 0..6 from Monday; `rate` None: too little was driven."""

    weekday: int
    hour: int
    events: int
    hours: float
    rate: float | None


@dataclass(frozen=True, slots=True)
class KindCount:
    """How many alerts of a kind and level."""

    kind: str
    level: int
    events: int


@dataclass(frozen=True, slots=True)
class RunBar:
    """An alert of a replayed drive: `start_s` and `end_s` on the drive's own clock."""

    run: str
    start_s: float
    end_s: float
    level: str
    what: str


def frame_of(row_type: type[Any], rows: Sequence[Any]) -> pd.DataFrame:
    """Rows of one type as a frame, with its columns even where there is no row."""
    names = [field.name for field in fields(row_type)]
    return pd.DataFrame([[getattr(row, name) for name in names] for row in rows], columns=names)


def local(at: Any) -> Any:
    """Epoch seconds as the reader's local time, without a zone for the browser to shift again."""
    stamps = pd.to_datetime(pd.Series(at, dtype="float64"), unit="s", utc=True)
    return stamps.dt.tz_convert(theme.zone()).dt.tz_localize(None).astype("datetime64[ms]")


def trend(rows: Sequence[DailyRate], days: Sequence[float], today: float) -> Chart:
    """Alerts per 100 monitored hours, a bar a day, split by level.

    Args:
        rows: the rates there are.
        days: every day shown (its start, epoch seconds): one without a bar stays empty.
        today: the day that is not over yet; its bar is drawn open.
    """
    frame = frame_of(DailyRate, rows)
    frame["date"] = _dates(frame["day"])
    frame["word"] = [theme.LEVEL_WORDS[Level(level)] for level in frame["level"]]
    frame["so_far"] = ["today, so far" if day == today else "" for day in frame["day"]]
    ends = [_dates([days[0]])[0], _dates([days[-1] + DAY_S])[0]]
    x = alt.X(
        "yearmonthdate(date):T",
        title=None,
        scale=alt.Scale(domain=[day_of.isoformat() for day_of in ends]),
        axis=alt.Axis(format="%d %b", tickCount=8, grid=False, labelOverlap=True),
    )
    y = alt.Y("sum(rate):Q", title="per 100 monitored hours", axis=alt.Axis(tickCount=4))
    bars = (
        alt.Chart(frame)
        .mark_bar(binSpacing=1)
        .encode(
            x=x,
            y=y,
            color=alt.Color(
                "word:N", scale=_level_scale(frame["word"]), title=None, legend=_legend()
            ),
            opacity=alt.condition("datum.so_far != ''", alt.value(0.45), alt.value(1.0)),
            order=alt.Order("level:Q", sort="descending"),
            tooltip=[
                alt.Tooltip("date:T", title="day (UTC)", format="%a %d %b"),
                alt.Tooltip("word:N", title="level"),
                alt.Tooltip("events:Q", title="alerts", format=","),
                alt.Tooltip("rate:Q", title="per 100 h", format=".1f"),
                alt.Tooltip("so_far:N", title="not over"),
            ],
        )
    )
    unfinished = (
        alt.Chart(frame[frame["day"] == today])
        .mark_text(dy=-7, fontSize=10, color=theme.ink()["muted"], align="right", text="so far")
        .encode(x=x, y=y)
    )
    return (bars + unfinished).properties(height=270)


def _dates(days: Sequence[float]) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(pd.to_datetime(list(days), unit="s"))


def heat_map(rows: Sequence[WeekCell]) -> Chart:
    """Alerts per 100 monitored hours by weekday and hour of the day."""
    names = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
    frame = frame_of(WeekCell, rows)
    frame["day"] = [names[day] for day in frame["weekday"]]
    ramp = ["#fbf4ec", "#f0c08c", "#cf5a12", "#7d1224"]
    if theme.dark():
        ramp = ["#241d18", "#7a4a1e", "#ff944d", "#ffd9bd"]
    # An hour in which too little was driven is no hour without alerts: it stays, in grey.
    tone = theme.ink()
    return (
        alt.Chart(frame)
        .mark_rect(cornerRadius=2, stroke=tone["back"], strokeWidth=1.5, invalid="show")
        .encode(
            x=alt.X(
                "hour:O",
                title="hour of the day",
                scale=alt.Scale(domain=list(range(24))),
                axis=alt.Axis(labelAngle=0, labelOverlap=True, ticks=False, domain=False),
            ),
            y=alt.Y(
                "day:N",
                title=None,
                sort=names,
                axis=alt.Axis(ticks=False, domain=False, labelOverlap=False),
            ),
            color=alt.condition(
                "isValid(datum.rate)",
                alt.Color(
                    "rate:Q",
                    scale=alt.Scale(range=ramp, interpolate="rgb"),
                    legend=alt.Legend(
                        title="per 100 h; grey: too little driven",
                        orient="top",
                        gradientLength=160,
                        titleOrient="left",
                        titleLimit=240,
                        offset=4,
                    ),
                ),
                alt.value(tone["panel"]),
            ),
            tooltip=[
                alt.Tooltip("day:N", title="day"),
                alt.Tooltip("hour:O", title="hour"),
                alt.Tooltip("rate:Q", title="per 100 h", format=".1f"),
                alt.Tooltip("events:Q", title="alerts", format=","),
                alt.Tooltip("hours:Q", title="monitored h", format=",.0f"),
            ],
        )
        .properties(height=290)
    )


def causes(rows: Sequence[CauseCoverage]) -> Chart:
    """Why the driver was not monitored: hours by cause, the longest first."""
    frame = frame_of(CauseCoverage, rows)
    frame["word"] = [theme.cause_word(cause) for cause in frame["cause"]]
    frame["hours"] = frame["seconds"] / 3600
    base = alt.Chart(frame).encode(
        y=alt.Y(
            "word:N",
            sort="-x",
            title=None,
            axis=alt.Axis(ticks=False, domain=False, labelLimit=160, labelOverlap=False),
        ),
        x=alt.X("hours:Q", title="hours not monitored", axis=alt.Axis(tickCount=4)),
        tooltip=[alt.Tooltip("word:N", title="cause"), alt.Tooltip("hours:Q", format=",.1f")],
    )
    return base.mark_bar(
        color=theme.ink()["muted"], cornerRadiusEnd=3, height={"band": 0.65}
    ).properties(height=max(26 * len(frame) + 30, 90))


def kinds(rows: Sequence[KindCount]) -> Chart:
    """Alerts by kind, split by level."""
    frame = frame_of(KindCount, rows)
    frame["what"] = [theme.kind_word(kind) for kind in frame["kind"]]
    frame["word"] = [theme.LEVEL_WORDS[Level(level)] for level in frame["level"]]
    return (
        alt.Chart(frame)
        .mark_bar(cornerRadiusEnd=3, height={"band": 0.65})
        .encode(
            y=alt.Y(
                "what:N",
                sort="-x",
                title=None,
                axis=alt.Axis(ticks=False, domain=False, labelLimit=160, labelOverlap=False),
            ),
            x=alt.X("sum(events):Q", title="alerts", axis=alt.Axis(tickCount=4, tickMinStep=1)),
            color=alt.Color("word:N", scale=_level_scale(frame["word"]), title=None, legend=None),
            tooltip=[
                alt.Tooltip("what:N", title="kind"),
                alt.Tooltip("word:N", title="level"),
                alt.Tooltip("events:Q", title="alerts", format=","),
            ],
        )
        .properties(height=max(26 * frame["what"].nunique() + 50, 90))
    )


def _level_scale(words: pd.Series) -> alt.Scale:
    """The colours of the levels there are, the least urgent first."""
    colors, there = theme.level_colors(), set(words)
    shown = [level for level in Level if theme.LEVEL_WORDS[level] in there]
    return alt.Scale(
        domain=[theme.LEVEL_WORDS[level] for level in shown],
        range=[colors[level] for level in shown],
    )


def _legend() -> alt.Legend:
    return alt.Legend(orient="top", direction="horizontal", title=None, offset=4)


def lags(rows: Sequence[LagRow]) -> Chart:
    """Seconds from an alert's telling to the database, on a logarithmic scale."""
    frame = frame_of(LagRow, rows)
    frame["time"] = local(frame["at"])
    frame["seconds"] = frame["lag_s"].clip(lower=0.01)
    return (
        alt.Chart(frame.drop(columns=["at", "lag_s"]))
        .mark_circle(size=14, opacity=0.35, color=theme.ink()["accent"])
        .encode(
            x=alt.X("time:T", title=None, axis=alt.Axis(format="%H:%M", grid=False)),
            y=alt.Y(
                "seconds:Q",
                title="seconds",
                scale=alt.Scale(type="log", domainMin=0.01),
                axis=alt.Axis(values=[0.01, 0.1, 1, 10, 100, 1000], format="~g"),
            ),
            tooltip=[
                alt.Tooltip("time:T", title="told", format="%H:%M:%S"),
                alt.Tooltip("seconds:Q", format=".2f"),
            ],
        )
        .properties(height=220)
    )


def two_runs(rows: Sequence[RunBar], seconds: float) -> Chart:
    """Alerts of the same drive under two policies, one lane each.

    Args:
        rows: of the runs `before` and `after`.
        seconds: length of the drive.
    """
    frame = frame_of(RunBar, rows)
    return (
        alt.Chart(frame)
        .mark_bar(height={"band": 0.7}, cornerRadius=2, clip=True)
        .encode(
            x=alt.X(
                "start_s:Q",
                title="seconds into the drive",
                scale=alt.Scale(domain=[0, max(seconds, 1.0)], nice=False),
                axis=alt.Axis(grid=False),
            ),
            x2="end_s:Q",
            y=alt.Y("run:N", sort=["before", "after"], title=None, scale=_both()),
            color=alt.Color(
                "level:N", scale=_level_scale(frame["level"]), title=None, legend=_legend()
            ),
            tooltip=[
                alt.Tooltip("what:N", title="what"),
                alt.Tooltip("level:N", title="level"),
                alt.Tooltip("start_s:Q", title="from, s", format=".1f"),
                alt.Tooltip("end_s:Q", title="to, s", format=".1f"),
            ],
        )
        .properties(height=190)
    )


def _both() -> alt.Scale:
    return alt.Scale(domain=["before", "after"])
