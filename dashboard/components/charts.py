"""The charts, as functions from rows to altair; colours are the theme's, times the reader's."""

from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

from dashboard.components import theme
from dashboard.queries.database import Record
from monitor.types import Level

Chart = Any


def local(at: Any) -> Any:
    """Epoch seconds as the reader's local time, without a zone for the browser to shift again."""
    stamps = pd.to_datetime(pd.Series(at, dtype="float64"), unit="s", utc=True)
    return stamps.dt.tz_convert(theme.zone()).dt.tz_localize(None).astype("datetime64[ms]")


def trend(rows: Sequence[Record]) -> Chart:
    """Alerts per 100 monitored hours, a bar a day, split by level.

    Args:
        rows: `day` (epoch seconds), `level`, `rate`.
    """
    frame = pd.DataFrame(rows, columns=["day", "level", "rate", "events"])
    frame["date"] = pd.to_datetime(frame["day"], unit="s").dt.tz_localize(None)
    frame["word"] = [theme.LEVEL_WORDS[Level(level)] for level in frame["level"]]
    return (
        alt.Chart(frame)
        .mark_bar(binSpacing=1)
        .encode(
            x=alt.X(
                "yearmonthdate(date):T",
                title=None,
                axis=alt.Axis(format="%d %b", tickCount=8, grid=False, labelOverlap=True),
            ),
            y=alt.Y("sum(rate):Q", title="per 100 monitored hours", axis=alt.Axis(tickCount=4)),
            color=alt.Color(
                "word:N", scale=_level_scale(frame["word"]), title=None, legend=_legend()
            ),
            order=alt.Order("level:Q", sort="descending"),
            tooltip=[
                alt.Tooltip("date:T", title="day (UTC)", format="%a %d %b"),
                alt.Tooltip("word:N", title="level"),
                alt.Tooltip("events:Q", title="alerts", format=","),
                alt.Tooltip("rate:Q", title="per 100 h", format=".1f"),
            ],
        )
        .properties(height=270)
    )


def heat_map(rows: Sequence[Record]) -> Chart:
    """Alerts per 100 monitored hours by weekday and hour of the day.

    Args:
        rows: `weekday` 0..6 from Monday, `hour` 0..23, `rate` (None where too little was driven).
    """
    names = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
    frame = pd.DataFrame(rows, columns=["weekday", "hour", "rate", "events", "hours"])
    frame["day"] = [names[day] for day in frame["weekday"]]
    ramp = ["#fbf4ec", "#f0c08c", "#cf5a12", "#7d1224"]
    if theme.dark():
        ramp = ["#241d18", "#7a4a1e", "#ff944d", "#ffd9bd"]
    return (
        alt.Chart(frame)
        .mark_rect(cornerRadius=2, stroke=theme.ink()["back"], strokeWidth=1.5)
        .encode(
            x=alt.X(
                "hour:O",
                title="hour of the day",
                axis=alt.Axis(labelAngle=0, labelOverlap=True, ticks=False, domain=False),
            ),
            y=alt.Y(
                "day:N",
                title=None,
                sort=names,
                axis=alt.Axis(ticks=False, domain=False, labelOverlap=False),
            ),
            color=alt.Color(
                "rate:Q",
                scale=alt.Scale(range=ramp, interpolate="rgb"),
                legend=alt.Legend(
                    title="per 100 h",
                    orient="top",
                    gradientLength=160,
                    titleOrient="left",
                    offset=4,
                ),
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


def causes(rows: Sequence[Record]) -> Chart:
    """Why the driver was not monitored: hours by cause, the longest first."""
    frame = pd.DataFrame(rows, columns=["cause", "seconds"])
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


def kinds(rows: Sequence[Record]) -> Chart:
    """Alerts by kind, split by level."""
    frame = pd.DataFrame(rows, columns=["kind", "level", "events"])
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


def lags(rows: Sequence[Record]) -> Chart:
    """Seconds from an alert's telling to the database, on a logarithmic scale.

    Args:
        rows: `at` (epoch seconds), `lag_s`.
    """
    frame = pd.DataFrame(rows, columns=["at", "lag_s"])
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


def two_runs(rows: Sequence[Record], seconds: float) -> Chart:
    """Alerts of the same drive under two policies, one lane each.

    Args:
        rows: `run` (before, after), `from`, `to` (seconds of the drive), `level`, `what`.
        seconds: length of the drive.
    """
    frame = pd.DataFrame(rows, columns=["run", "from", "to", "level", "what"])
    return (
        alt.Chart(frame)
        .mark_bar(height={"band": 0.7}, cornerRadius=2, clip=True)
        .encode(
            x=alt.X(
                "from:Q",
                title="seconds into the drive",
                scale=alt.Scale(domain=[0, max(seconds, 1.0)], nice=False),
                axis=alt.Axis(grid=False),
            ),
            x2="to:Q",
            y=alt.Y("run:N", sort=["before", "after"], title=None, scale=_both()),
            color=alt.Color(
                "level:N", scale=_level_scale(frame["level"]), title=None, legend=_legend()
            ),
            tooltip=[
                alt.Tooltip("what:N", title="what"),
                alt.Tooltip("level:N", title="level"),
                alt.Tooltip("from:Q", title="from, s", format=".1f"),
                alt.Tooltip("to:Q", title="to, s", format=".1f"),
            ],
        )
        .properties(height=190)
    )


def _both() -> alt.Scale:
    return alt.Scale(domain=["before", "after"])
