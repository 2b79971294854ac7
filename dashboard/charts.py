"""The charts, as functions from rows to altair; colours are the theme's, times the reader's."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import altair as alt
import pandas as pd

from dashboard import theme
from dashboard.data.store import Record
from monitor.types import Level

Chart = Any
# Samples further apart than this have nothing between them that could be drawn as a line.
GAP_S: Final = 20.0
_MEASURES: Final = (
    ("openness", "Eye opening", (0.0, 1.2)),
    ("perclos", "PERCLOS", (0.0, 0.4)),
    ("yaw_deg", "Yaw °", (-60.0, 60.0)),
    ("pitch_deg", "Pitch °", (-45.0, 45.0)),
)


def local(at: Any) -> Any:
    """Epoch seconds as the reader's local time, without a zone for the browser to shift again."""
    stamps = pd.to_datetime(at, unit="s", utc=True)
    series = pd.Series(stamps).dt.tz_convert(theme.zone()).dt.tz_localize(None)
    return series.astype("datetime64[ms]")


def timeline(
    samples: Sequence[Record],
    events: Sequence[Record],
    window: tuple[float, float],
    marked: Record | None = None,
) -> Chart:
    """What was measured over a stretch of time, one strip a measure; unknown is a gap.

    Args:
        samples: rows of `samples`, oldest first.
        events: alerts to lay over it, with `started_at`, `ended_at`, `level`, `kind`.
        window: epoch seconds shown.
        marked: the alert this is about.
    """
    frame = _with_gaps(samples)
    domain = [stamp.isoformat() for stamp in local(list(window))]
    x = alt.X("time:T", title=None, scale=alt.Scale(domain=domain), axis=_clock_axis(labels=False))
    strips: list[Chart] = [_level_strip(samples, events, domain)]
    shade = _shade(marked, window)
    for name, title, (low, high) in _MEASURES:
        y = alt.Y(
            f"{name}:Q",
            title=title,
            scale=alt.Scale(domain=[low, high], clamp=True),
            axis=alt.Axis(tickCount=3, titleFontSize=11, titleFontWeight="normal", grid=True),
        )
        line = (
            alt.Chart(frame)
            .mark_line(strokeWidth=1.6, color=theme.ink()["accent"], clip=True, point=False)
            .encode(x=x, y=y, tooltip=_tips(name, title))
        )
        strips.append((shade + line if shade is not None else line).properties(height=64))
    strips[-1] = (
        strips[-1].encode(
            x=alt.X(
                "time:T", title=None, scale=alt.Scale(domain=domain), axis=_clock_axis(labels=True)
            )
        )
        if not isinstance(strips[-1], alt.LayerChart)
        else _with_clock(strips[-1], domain)
    )
    return (
        alt.vconcat(*strips, spacing=6).resolve_scale(x="independent").configure_view(stroke=None)
    )


def _with_clock(layered: alt.LayerChart, domain: list[str]) -> alt.LayerChart:
    axis = alt.X(
        "time:T", title=None, scale=alt.Scale(domain=domain), axis=_clock_axis(labels=True)
    )
    layered.layer[-1] = layered.layer[-1].encode(x=axis)
    return layered


def _clock_axis(*, labels: bool) -> alt.Axis:
    return alt.Axis(
        format="%H:%M:%S", labels=labels, ticks=labels, grid=False, tickCount=6, labelOverlap=True
    )


def _tips(name: str, title: str) -> list[Any]:
    return [
        alt.Tooltip("time:T", title="at", format="%H:%M:%S"),
        alt.Tooltip(f"{name}:Q", title=title, format=".2f"),
        alt.Tooltip("eyes:N", title="eyes"),
    ]


def _with_gaps(samples: Sequence[Record]) -> pd.DataFrame:
    names = ["at", "eyes", *(name for name, _, _ in _MEASURES)]
    rows: list[dict[str, Any]] = []
    for row in samples:
        if rows and row["at"] - rows[-1]["at"] > GAP_S:
            rows.append({"at": rows[-1]["at"] + 0.1, "eyes": "unknown"})
        rows.append({name: row.get(name) for name in names})
    frame = pd.DataFrame(rows, columns=names)
    frame["time"] = local(frame["at"])
    measures = [name for name, _, _ in _MEASURES]
    frame[measures] = frame[measures].astype("float64")
    return frame.drop(columns=["at"])


def _level_strip(samples: Sequence[Record], events: Sequence[Record], domain: list[str]) -> Chart:
    """Bands of the most urgent level, and where the driver was not monitored."""
    bands = [*_unwatched(samples), *_alerts(events)]
    frame = pd.DataFrame(bands, columns=["from", "to", "what", "row"])
    frame["start"], frame["end"] = local(frame["from"]), local(frame["to"])
    colors = theme.level_colors()
    names = [*(theme.LEVEL_WORDS[level] for level in Level), "not monitored"]
    scale = alt.Scale(domain=names, range=[*colors.values(), theme.ink()["unknown"]])
    frame["level"] = frame["row"]
    return (
        alt.Chart(frame)
        .mark_rect(height=14, cornerRadius=2)
        .encode(
            x=alt.X(
                "start:T",
                title=None,
                scale=alt.Scale(domain=domain, clamp=True),
                axis=_clock_axis(labels=False),
            ),
            x2="end:T",
            color=alt.Color("level:N", scale=scale, legend=None),
            tooltip=[
                alt.Tooltip("what:N", title="what"),
                alt.Tooltip("start:T", title="from", format="%H:%M:%S"),
                alt.Tooltip("end:T", title="to", format="%H:%M:%S"),
            ],
        )
        .properties(height=16)
    )


def _unwatched(samples: Sequence[Record]) -> Iterable[tuple[float, float, str, str]]:
    begun: float | None = None
    causes: set[str] = set()
    last = None
    for row in samples:
        impaired = [cause for cause in row["degraded"] if cause != "uncalibrated"]
        if impaired and begun is None:
            begun = row["at"]
        if not impaired and begun is not None:
            yield begun, row["at"], _words(causes), "not monitored"
            begun, causes = None, set()
        causes.update(impaired)
        last = row["at"]
    if begun is not None and last is not None:
        yield begun, last + 1.0, _words(causes), "not monitored"


def _words(causes: Iterable[str]) -> str:
    return "not monitored: " + ", ".join(sorted(theme.cause_word(cause) for cause in causes))


def _alerts(events: Sequence[Record]) -> Iterable[tuple[float, float, str, str]]:
    for event in sorted(events, key=lambda one: one["level"]):
        if event["kind"] == "degraded":
            continue
        until = event["ended_at"] or event["updated_at"]
        # A second is the least that can be seen and pointed at.
        until = max(until, event["started_at"] + 1.0)
        level = theme.LEVEL_WORDS[Level(event["level"])]
        yield event["started_at"], until, theme.kind_word(event["kind"]), level


def _shade(marked: Record | None, window: tuple[float, float]) -> Chart | None:
    if marked is None:
        return None
    until = max(marked["ended_at"] or marked["updated_at"], marked["started_at"] + 0.5)
    frame = pd.DataFrame({"from": [marked["started_at"]], "to": [min(until, window[1])]})
    frame["time"], frame["end"] = local(frame["from"]), local(frame["to"])
    color = theme.level_colors()[Level(marked["level"])]
    return alt.Chart(frame).mark_rect(opacity=0.22, color=color).encode(x="time:T", x2="end:T")


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
            color=alt.Color("word:N", scale=_level_scale(), title=None, legend=_legend()),
            order=alt.Order("level:Q", sort="descending"),
            tooltip=[
                alt.Tooltip("date:T", title="day (UTC)", format="%a %d %b"),
                alt.Tooltip("word:N", title="level"),
                alt.Tooltip("events:Q", title="alerts", format=","),
                alt.Tooltip("rate:Q", title="per 100 h", format=".1f"),
            ],
        )
        .properties(height=230)
    )


def heat_map(rows: Sequence[Record]) -> Chart:
    """Alerts per 100 monitored hours by weekday and hour of the day.

    Args:
        rows: `weekday` 0..6 from Monday, `hour` 0..23, `rate` (None where too little was driven).
    """
    names = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
    frame = pd.DataFrame(rows, columns=["weekday", "hour", "rate", "events", "hours"])
    frame["day"] = [names[day] for day in frame["weekday"]]
    ramp = [theme.ink()["panel"], "#f0c08c", "#cf5a12", "#7d1224"]
    if theme.dark():
        ramp = [theme.ink()["panel"], "#7a4a1e", "#ff944d", "#ffd9bd"]
    return (
        alt.Chart(frame)
        .mark_rect(cornerRadius=2, stroke=theme.ink()["back"], strokeWidth=1.5)
        .encode(
            x=alt.X(
                "hour:O",
                title="hour of the day",
                axis=alt.Axis(labelAngle=0, labelOverlap=True, ticks=False, domain=False),
            ),
            y=alt.Y("day:N", title=None, sort=names, axis=alt.Axis(ticks=False, domain=False)),
            color=alt.Color(
                "rate:Q",
                scale=alt.Scale(range=ramp),
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
        .properties(height=250)
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
            axis=alt.Axis(ticks=False, domain=False, labelLimit=160),
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
                axis=alt.Axis(ticks=False, domain=False, labelLimit=160),
            ),
            x=alt.X("sum(events):Q", title="alerts", axis=alt.Axis(tickCount=4)),
            color=alt.Color("word:N", scale=_level_scale(), title=None, legend=None),
            tooltip=[
                alt.Tooltip("what:N", title="kind"),
                alt.Tooltip("word:N", title="level"),
                alt.Tooltip("events:Q", title="alerts", format=","),
            ],
        )
        .properties(height=max(26 * frame["what"].nunique() + 40, 90))
    )


def _level_scale() -> alt.Scale:
    colors = theme.level_colors()
    shown = [Level.INFO, Level.CAUTION, Level.WARNING, Level.CRITICAL]
    return alt.Scale(
        domain=[theme.LEVEL_WORDS[level] for level in shown],
        range=[colors[level] for level in shown],
    )


def _legend() -> alt.Legend:
    return alt.Legend(orient="top", direction="horizontal", title=None, offset=4)
