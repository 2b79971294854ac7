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
# Name, title, unit, lowest and highest shown, and the value worth a line (its source is the
# policy's default: closed below 30 % of the driver's own eye, drowsy above PERCLOS 0.15).
_MEASURES: Final = (
    ("openness", "Eye opening", "", 0.0, 1.2, 0.30),
    ("perclos", "PERCLOS", "", 0.0, 0.4, 0.15),
    ("yaw_deg", "Head yaw", "°", -60.0, 60.0, 0.0),
    ("pitch_deg", "Head pitch", "°", -45.0, 45.0, 0.0),
)
_LANE: Final = 1.25  # height of a lane of height 1, with the space below it


def local(at: Any) -> Any:
    """Epoch seconds as the reader's local time, without a zone for the browser to shift again."""
    stamps = pd.to_datetime(pd.Series(at, dtype="float64"), unit="s", utc=True)
    return stamps.dt.tz_convert(theme.zone()).dt.tz_localize(None).astype("datetime64[ms]")


def timeline(
    samples: Sequence[Record],
    events: Sequence[Record],
    window: tuple[float, float],
    marked: Record | None = None,
) -> Chart:
    """What was measured over a stretch of time, a lane each; unknown is a gap, never a zero.

    Args:
        samples: rows of `samples`, oldest first.
        events: alerts to lay over it, with `started_at`, `ended_at`, `level`, `kind`.
        window: epoch seconds shown.
        marked: the alert this is about.
    """
    ends = [stamp.to_pydatetime() for stamp in local(list(window))]
    x_scale = alt.Scale(domain=[_vega_time(end) for end in ends], nice=False, clamp=True)
    axis = alt.Axis(format="%H:%M:%S", grid=False, labelOverlap=True, tickCount=6)
    x = alt.X("time:T", title=None, scale=x_scale, axis=axis)
    layers = [
        *_shades(marked, window),
        _bands(samples, events),
        _rules(),
        alt.Chart(_long(samples))
        .mark_line(strokeWidth=1.7, color=theme.ink()["accent"], clip=True)
        .encode(
            x=x,
            y=_lanes(),
            detail="run:N",
            tooltip=[
                alt.Tooltip("time:T", title="at", format="%H:%M:%S"),
                alt.Tooltip("title:N", title="what"),
                alt.Tooltip("value:Q", title="measured", format=".2f"),
                alt.Tooltip("eyes:N", title="eyes"),
            ],
        ),
    ]
    return alt.layer(*layers).properties(height=320).configure_view(stroke=None)


def _vega_time(moment: Any) -> alt.DateTime:
    return alt.DateTime(
        year=moment.year, month=moment.month, date=moment.day, hours=moment.hour,
        minutes=moment.minute, seconds=moment.second, milliseconds=moment.microsecond // 1000,
    )  # fmt: skip


def _lanes() -> alt.Y:
    """One axis for all lanes: names in place of numbers."""
    count = len(_MEASURES)
    middles = [_base(index) + 0.5 for index in range(count)] + [_base(-1) + 0.2]
    names = [title for _, title, *_ in _MEASURES] + ["Alerts"]
    words = " : ".join(
        f"abs(datum.value - {at}) < 0.05 ? '{name}'"
        for at, name in zip(middles, names, strict=True)
    )
    return alt.Y(
        "y:Q",
        title=None,
        scale=alt.Scale(domain=[_base(count - 1) - 0.1, _base(-1) + 0.5], nice=False),
        axis=alt.Axis(
            values=middles,
            labelExpr=f"{words} : ''",
            grid=False,
            ticks=False,
            domain=False,
            labelFontSize=12,
            minExtent=74,
        ),
    )


def _base(index: int) -> float:
    """Where a lane's bottom lies; the first lane is the highest, the alerts' is above it."""
    return (len(_MEASURES) - 1 - index) * _LANE


def _rules() -> Chart:
    """A line where a measure becomes worth a look, with its number."""
    frame = pd.DataFrame(
        [
            {"y": _base(i) + (line - low) / (high - low), "text": f"{line:g}{unit}"}
            for i, (_, _, unit, low, high, line) in enumerate(_MEASURES)
        ]
    )
    tone = theme.ink()
    rule = alt.Chart(frame).mark_rule(color=tone["line"], strokeDash=[4, 3]).encode(y=_lanes())
    text = (
        alt.Chart(frame)
        .mark_text(align="right", dx=-3, dy=-6, fontSize=10, color=tone["muted"])
        .encode(y=_lanes(), x=alt.value("width"), text="text:N")
    )
    return rule + text


def _long(samples: Sequence[Record]) -> pd.DataFrame:
    """One row a sample and measure, scaled into its lane; a run ends where nothing is known."""
    rows: list[dict[str, Any]] = []
    for index, (name, title, _, low, high, _) in enumerate(_MEASURES):
        run, last = 0, None
        for row in samples:
            value = row.get(name)
            if value is None or (last is not None and row["at"] - last > GAP_S):
                run += 1
            last = row["at"]
            if value is not None:
                share = min(max((value - low) / (high - low), 0.0), 1.0)
                rows.append(
                    {
                        "at": row["at"], "y": _base(index) + share, "value": value,
                        "title": title, "run": f"{name}{run}", "eyes": row["eyes"],
                    }
                )  # fmt: skip
    frame = pd.DataFrame(rows, columns=["at", "y", "value", "title", "run", "eyes"])
    frame["time"] = local(frame["at"])
    return frame.drop(columns=["at"])


def _bands(samples: Sequence[Record], events: Sequence[Record]) -> Chart:
    """Bands of the most urgent level, and where the driver was not monitored."""
    found = [*_unwatched(samples), *_alerts(events)]
    frame = pd.DataFrame(found, columns=["from", "to", "what", "level"])
    frame["time"], frame["end"] = local(frame["from"]), local(frame["to"])
    # What was not monitored shades the whole height; alerts stand on the lane of their own.
    blind = frame["level"] == "not monitored"
    frame["y"] = [_base(len(_MEASURES) - 1) if b else _base(-1) for b in blind]
    frame["top"] = _base(-1) + 0.4
    names = [*(theme.LEVEL_WORDS[level] for level in Level), "not monitored"]
    scale = alt.Scale(domain=names, range=[*theme.level_colors().values(), theme.ink()["unknown"]])
    return (
        alt.Chart(frame)
        .mark_rect(clip=True, cornerRadius=2)
        .encode(
            x="time:T",
            x2="end:T",
            y=_lanes(),
            y2="top:Q",
            color=alt.Color("level:N", scale=scale, legend=None),
            opacity=alt.condition(
                "datum.level == 'not monitored'", alt.value(0.35), alt.value(1.0)
            ),
            tooltip=[
                alt.Tooltip("what:N", title="what"),
                alt.Tooltip("time:T", title="from", format="%H:%M:%S"),
                alt.Tooltip("end:T", title="to", format="%H:%M:%S"),
            ],
        )
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


def _shades(marked: Record | None, window: tuple[float, float]) -> list[Chart]:
    if marked is None:
        return []
    until = max(marked["ended_at"] or marked["updated_at"], marked["started_at"] + 0.5)
    frame = pd.DataFrame({"from": [marked["started_at"]], "to": [min(until, window[1])]})
    frame["time"], frame["end"] = local(frame["from"]), local(frame["to"])
    color = theme.level_colors()[Level(marked["level"])]
    return [
        alt.Chart(frame)
        .mark_rect(opacity=0.2, color=color, clip=True)
        .encode(x="time:T", x2="end:T")
    ]


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
