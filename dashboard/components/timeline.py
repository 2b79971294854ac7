"""The strip chart: what was measured on a driver over a stretch of time, and what was alerted."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import altair as alt
import pandas as pd

from dashboard.components import theme
from dashboard.components.charts import Chart, local
from dashboard.queries.events import AlertRow, DriverSample
from monitor.types import Level

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


def timeline(
    samples: Sequence[DriverSample],
    events: Sequence[AlertRow],
    window: tuple[float, float],
    marked: AlertRow | None = None,
) -> Chart:
    """What was measured over a stretch of time, a lane each; unknown is a gap, never a zero.

    Args:
        samples: oldest first.
        events: alerts to lay over it.
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


def _long(samples: Sequence[DriverSample]) -> pd.DataFrame:
    """One row a sample and measure, scaled into its lane; a run ends where nothing is known."""
    rows: list[dict[str, Any]] = []
    for index, (name, title, _, low, high, _) in enumerate(_MEASURES):
        run, last = 0, None
        for row in samples:
            value: float | None = getattr(row, name)
            if value is None or (last is not None and row.at - last > GAP_S):
                run += 1
            last = row.at
            if value is not None:
                share = min(max((value - low) / (high - low), 0.0), 1.0)
                rows.append(
                    {
                        "at": row.at, "y": _base(index) + share, "value": value,
                        "title": title, "run": f"{name}{run}", "eyes": row.eyes,
                    }
                )  # fmt: skip
    frame = pd.DataFrame(rows, columns=["at", "y", "value", "title", "run", "eyes"])
    frame["time"] = local(frame["at"])
    return frame.drop(columns=["at"])


def _bands(samples: Sequence[DriverSample], events: Sequence[AlertRow]) -> Chart:
    """Bands of the most urgent level, and where the driver was not monitored."""
    bands = [*_unwatched(samples), *_alerts(events)]
    frame = pd.DataFrame(bands, columns=["from", "to", "what", "level"])
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


def _unwatched(samples: Sequence[DriverSample]) -> Iterable[tuple[float, float, str, str]]:
    begun: float | None = None
    causes: set[str] = set()
    last = None
    for row in samples:
        impaired = [cause for cause in row.degraded if cause != "uncalibrated"]
        if impaired and begun is None:
            begun = row.at
        if not impaired and begun is not None:
            yield begun, row.at, _words(causes), "not monitored"
            begun, causes = None, set()
        causes.update(impaired)
        last = row.at
    if begun is not None and last is not None:
        yield begun, last + 1.0, _words(causes), "not monitored"


def _words(causes: Iterable[str]) -> str:
    return "not monitored: " + ", ".join(sorted(theme.cause_word(cause) for cause in causes))


def _alerts(events: Sequence[AlertRow]) -> Iterable[tuple[float, float, str, str]]:
    for event in sorted(events, key=lambda event: event.level):
        if event.kind == "degraded":
            continue
        until = event.until
        # A second is the least that can be seen and pointed at.
        until = max(until, event.started_at + 1.0)
        level = theme.LEVEL_WORDS[Level(event.level)]
        yield event.started_at, until, theme.kind_word(event.kind), level


def _shades(marked: AlertRow | None, window: tuple[float, float]) -> list[Chart]:
    if marked is None:
        return []
    until = max(marked.until, marked.started_at + 0.5)
    frame = pd.DataFrame({"from": [marked.started_at], "to": [min(until, window[1])]})
    frame["time"], frame["end"] = local(frame["from"]), local(frame["to"])
    color = theme.level_colors()[Level(marked.level)]
    return [
        alt.Chart(frame)
        .mark_rect(opacity=0.2, color=color, clip=True)
        .encode(x="time:T", x2="end:T")
    ]
