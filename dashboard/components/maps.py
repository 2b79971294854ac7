"""Maps without any server: coasts and borders as lines of our own, alerts and drives on top.

The outline is Natural Earth's 1:50m (public domain); it has no roads. A map keeps its shape by
stretching longitudes with the cosine of its middle latitude (equirectangular).
"""

import gzip
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import altair as alt
import pandas as pd

from dashboard.components import theme
from dashboard.components.charts import Chart
from dashboard.queries.places import AlertPosition, RepeatedPlace, TrackPoint
from monitor.types import Level

OUTLINE: Final = Path(__file__).parent.parent / "static" / "coasts.json.gz"
HEIGHT_PX: Final = 460
WIDTH_PX: Final = 900
# So close a map of one place goes: 0.05 degrees are 5 km.
LEAST_SPAN_DEG: Final = 0.05


@dataclass(frozen=True, slots=True)
class MapWindow:
    """The part of the world that a map shows, degrees."""

    west: float
    east: float
    south: float
    north: float


def alert_map(positions: Sequence[AlertPosition], repeated: Sequence[RepeatedPlace]) -> Chart:
    """Where alerts began; places that repeat are circled, the larger the more alerts."""
    window = window_around([(row.latitude, row.longitude) for row in positions])
    rows = pd.DataFrame(
        [
            {
                "latitude": row.latitude,
                "longitude": row.longitude,
                "level": theme.LEVEL_WORDS[Level(row.level)],
                "what": theme.kind_word(row.kind),
                "vehicle": row.vehicle,
                "began": theme.clock(row.started_at),
            }
            for row in sorted(positions, key=lambda row: row.level)
        ]
    )
    levels = [level for level in Level if theme.LEVEL_WORDS[level] in set(rows["level"])]
    colors = theme.level_colors()
    scale = alt.Scale(
        domain=[theme.LEVEL_WORDS[level] for level in levels],
        range=[colors[level] for level in levels],
    )
    points = (
        alt.Chart(rows)
        .mark_circle(size=70, opacity=0.75, clip=True)
        .encode(
            x=_x(window),
            y=_y(window),
            color=alt.Color(
                "level:N", scale=scale, title=None, legend=alt.Legend(orient="top", offset=4)
            ),
            tooltip=["what:N", "level:N", "vehicle:N", "began:N"],
        )
    )
    return _finished([_outline(window), _circles(repeated, window), points])


def drive_map(track: Sequence[TrackPoint], latitude: float, longitude: float) -> Chart:
    """The way of one drive, and where on it the alert began (degrees)."""
    corners = [(point.latitude, point.longitude) for point in track]
    window = window_around([*corners, (latitude, longitude)])
    way = pd.DataFrame(
        [
            {
                "longitude": p.longitude,
                "latitude": p.latitude,
                "at": p.at,
                "time": theme.clock(p.at),
            }
            for p in track
        ],
        columns=["longitude", "latitude", "at", "time"],
    )
    line = (
        alt.Chart(way)
        .mark_line(color=theme.ink()["accent"], strokeWidth=2.5, clip=True)
        .encode(x=_x(window), y=_y(window), order="at:Q", tooltip=["time:N"])
    )
    here = (
        alt.Chart(pd.DataFrame({"longitude": [longitude], "latitude": [latitude]}))
        .mark_point(
            shape="diamond", size=190, filled=True, color=theme.level_colors()[Level.CRITICAL]
        )
        .encode(x=_x(window), y=_y(window))
    )
    return _finished([_outline(window), line, here], height_px=280)


def window_around(corners: Sequence[tuple[float, float]]) -> MapWindow:
    """A window of the map's shape that holds all (latitude, longitude), with a margin."""
    latitudes = [latitude for latitude, _ in corners]
    longitudes = [longitude for _, longitude in corners]
    middle_lat = (min(latitudes) + max(latitudes)) / 2
    middle_lon = (min(longitudes) + max(longitudes)) / 2
    shrink = max(math.cos(math.radians(middle_lat)), 0.1)
    tall = max(max(latitudes) - min(latitudes), LEAST_SPAN_DEG) * 1.25
    wide = max(max(longitudes) - min(longitudes), LEAST_SPAN_DEG) * 1.25 * shrink
    # Whichever side is short is widened, so that a kilometre is as long across as along.
    tall = max(tall, wide * HEIGHT_PX / WIDTH_PX)
    wide = tall * WIDTH_PX / HEIGHT_PX / shrink
    return MapWindow(
        max(middle_lon - wide / 2, -180.0),
        min(middle_lon + wide / 2, 180.0),
        max(middle_lat - tall / 2, -90.0),
        min(middle_lat + tall / 2, 90.0),
    )


@lru_cache(maxsize=1)
def coast_lines() -> list[list[tuple[float, float]]]:
    """Coasts and borders as lines of (longitude, latitude), degrees."""
    stored = json.loads(gzip.decompress(OUTLINE.read_bytes()))
    lines = []
    for steps in stored["lines"]:
        x = y = 0
        line = []
        for dx, dy in zip(steps[::2], steps[1::2], strict=True):
            x, y = x + dx, y + dy
            line.append((x / 100, y / 100))
        lines.append(line)
    return lines


def lines_in(window: MapWindow) -> list[list[tuple[float, float]]]:
    """The lines of the outline that touch a window."""
    return [
        line
        for line in coast_lines()
        if max(x for x, _ in line) >= window.west
        and min(x for x, _ in line) <= window.east
        and max(y for _, y in line) >= window.south
        and min(y for _, y in line) <= window.north
    ]


def _outline(window: MapWindow) -> Chart:
    rows = [
        (number, order, longitude, latitude)
        for number, line in enumerate(lines_in(window))
        for order, (longitude, latitude) in enumerate(line)
    ]
    frame = pd.DataFrame(rows, columns=["line", "order", "longitude", "latitude"])
    return (
        alt.Chart(frame)
        .mark_line(color=theme.ink()["muted"], strokeWidth=1, opacity=0.8, clip=True)
        .encode(x=_x(window), y=_y(window), detail="line:N", order="order:Q")
    )


def _circles(repeated: Sequence[RepeatedPlace], window: MapWindow) -> Chart:
    frame = pd.DataFrame(
        [{"longitude": p.longitude, "latitude": p.latitude, "alerts": p.alerts} for p in repeated],
        columns=["longitude", "latitude", "alerts"],
    )
    return (
        alt.Chart(frame)
        .mark_point(strokeWidth=2, color=theme.ink()["text"], clip=True)
        .encode(
            x=_x(window),
            y=_y(window),
            size=alt.Size("alerts:Q", scale=alt.Scale(range=[250, 1400]), legend=None),
            tooltip=[alt.Tooltip("alerts:Q", title="alerts at this place")],
        )
    )


def _x(window: MapWindow) -> alt.X:
    return alt.X(
        "longitude:Q",
        title=None,
        scale=alt.Scale(domain=[window.west, window.east], nice=False),
        axis=alt.Axis(format=".4~f", labelExpr="datum.label + '°'", tickCount=5, gridOpacity=0.4),
    )


def _y(window: MapWindow) -> alt.Y:
    return alt.Y(
        "latitude:Q",
        title=None,
        scale=alt.Scale(domain=[window.south, window.north], nice=False),
        axis=alt.Axis(format=".4~f", labelExpr="datum.label + '°'", tickCount=5, gridOpacity=0.4),
    )


def _finished(layers: list[Chart], height_px: int = HEIGHT_PX) -> Chart:
    return (
        alt.layer(*layers)
        .resolve_scale(color="independent", size="independent")
        .properties(height=height_px)
    )
