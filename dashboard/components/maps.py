"""Maps without any server: coasts and borders as lines of our own, alerts and drives on top.

The outline is Natural Earth's 1:50m (public domain); it has no roads. Where the operator names a
tile server, its pictures lie below. Everything is drawn in the Mercator projection, as tiles are:
east is degrees of longitude, `mercator_deg` of a latitude is as long as a degree at the equator.
"""

import gzip
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import altair as alt
import pandas as pd

from dashboard.components import theme
from dashboard.components.charts import Chart
from dashboard.queries.places import AlertPosition, RepeatedPlace, TrackPoint
from dashboard.settings import settings
from monitor.types import Level

OUTLINE: Final = Path(__file__).parent.parent / "static" / "coasts.json.gz"
HEIGHT_PX: Final = 460
WIDTH_PX: Final = 900
# So close a map of one place goes: 0.05 degrees are 5 km.
LEAST_SPAN_DEG: Final = 0.05
# Where the square world of the tiles ends.
MOST_NORTH_DEG: Final = 85.0511
# About so many tiles (256 px each) lie across a map.
TILES_ACROSS: Final = 4
MOST_ZOOM: Final = 18


@dataclass(frozen=True, slots=True)
class MapWindow:
    """The part of the world that a map shows: degrees of longitude, and `mercator_deg`."""

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
                "north": mercator_deg(row.latitude),
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
    return _finished([*_below(window), _circles(repeated, window), points])


def drive_map(track: Sequence[TrackPoint], latitude: float, longitude: float) -> Chart:
    """The way of one drive, and where on it the alert began (degrees)."""
    corners = [(point.latitude, point.longitude) for point in track]
    window = window_around([*corners, (latitude, longitude)])
    way = pd.DataFrame(
        [
            {
                "longitude": p.longitude,
                "north": mercator_deg(p.latitude),
                "at": p.at,
                "time": theme.clock(p.at),
            }
            for p in track
        ],
        columns=["longitude", "north", "at", "time"],
    )
    line = (
        alt.Chart(way)
        .mark_line(color=theme.ink()["accent"], strokeWidth=2.5, clip=True)
        .encode(x=_x(window), y=_y(window), order="at:Q", tooltip=["time:N"])
    )
    here = (
        alt.Chart(pd.DataFrame({"longitude": [longitude], "north": [mercator_deg(latitude)]}))
        .mark_point(
            shape="diamond", size=190, filled=True, color=theme.level_colors()[Level.CRITICAL]
        )
        .encode(x=_x(window), y=_y(window))
    )
    return _finished([*_below(window), line, here], height_px=280)


def window_around(corners: Sequence[tuple[float, float]]) -> MapWindow:
    """A window of the map's shape that holds all (latitude, longitude), with a margin."""
    norths = [mercator_deg(latitude) for latitude, _ in corners]
    longitudes = [longitude for _, longitude in corners]
    middle_north = (min(norths) + max(norths)) / 2
    middle_lon = (min(longitudes) + max(longitudes)) / 2
    tall = max(max(norths) - min(norths), LEAST_SPAN_DEG) * 1.25
    wide = max(max(longitudes) - min(longitudes), LEAST_SPAN_DEG) * 1.25
    # Whichever side is short is widened, so that a kilometre is as long across as along.
    tall = max(tall, wide * HEIGHT_PX / WIDTH_PX)
    wide = tall * WIDTH_PX / HEIGHT_PX
    return MapWindow(
        max(middle_lon - wide / 2, -180.0),
        min(middle_lon + wide / 2, 180.0),
        max(middle_north - tall / 2, -180.0),
        min(middle_north + tall / 2, 180.0),
    )


def mercator_deg(latitude: float) -> float:
    """A latitude (degrees) in the Mercator projection, -180 to 180 for what tiles show."""
    within = math.radians(min(max(latitude, -MOST_NORTH_DEG), MOST_NORTH_DEG))
    return math.degrees(math.log(math.tan(math.pi / 4 + within / 2)))


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
        and mercator_deg(max(y for _, y in line)) >= window.south
        and mercator_deg(min(y for _, y in line)) <= window.north
    ]


@dataclass(frozen=True, slots=True)
class MapTile:
    """A picture of a tile server: its column and row, and its middle (as `MapWindow` counts)."""

    column: int
    row: int
    longitude: float
    north: float


def tiles_in(window: MapWindow) -> tuple[int, list[MapTile]]:
    """The zoom that suits a window, and its tiles (at most some dozens)."""
    zoom = math.floor(math.log2(TILES_ACROSS * 360 / max(window.east - window.west, 1e-6)))
    zoom = min(max(zoom, 0), MOST_ZOOM)
    side = 360 / 2**zoom
    columns = range(int((window.west + 180) // side), math.ceil((window.east + 180) / side))
    rows = range(int((180 - window.north) // side), math.ceil((180 - window.south) / side))
    return zoom, [
        MapTile(column, row, (column + 0.5) * side - 180, 180 - (row + 0.5) * side)
        for column in columns
        for row in rows
    ]


def credit() -> str:
    """Whose map it is, for the line below it."""
    own = "Coasts and borders: Natural Earth, public domain."
    chosen = settings()
    if chosen.tiles is None:
        return own
    return f"{own} Map: {chosen.tiles_credit or urlsplit(chosen.tiles).hostname}."


def _below(window: MapWindow) -> list[Chart]:
    """What lies below alerts and drives."""
    template = settings().tiles
    outline = _outline(window)
    return [outline] if template is None else [_tiles(window, template), outline]


def _tiles(window: MapWindow, template: str) -> Chart:
    zoom, tiles = tiles_in(window)
    side = 360 / 2**zoom
    rows = [
        {
            "url": template.format(z=zoom, x=tile.column, y=tile.row),
            "longitude": tile.longitude,
            "north": tile.north,
        }
        for tile in tiles
    ]
    return (
        alt.Chart(pd.DataFrame(rows))
        .mark_image(
            width=alt.expr(f"width * {side / (window.east - window.west)} + 1"),
            height=alt.expr(f"height * {side / (window.north - window.south)} + 1"),
            aspect=False,
            clip=True,
        )
        .encode(x=_x(window), y=_y(window), url="url:N")
    )


def _outline(window: MapWindow) -> Chart:
    rows = [
        (number, order, longitude, mercator_deg(latitude))
        for number, line in enumerate(lines_in(window))
        for order, (longitude, latitude) in enumerate(line)
    ]
    frame = pd.DataFrame(rows, columns=["line", "order", "longitude", "north"])
    return (
        alt.Chart(frame)
        .mark_line(color=theme.ink()["muted"], strokeWidth=1, opacity=0.8, clip=True)
        .encode(x=_x(window), y=_y(window), detail="line:N", order="order:Q")
    )


def _circles(repeated: Sequence[RepeatedPlace], window: MapWindow) -> Chart:
    frame = pd.DataFrame(
        [(p.longitude, mercator_deg(p.latitude), p.alerts) for p in repeated],
        columns=["longitude", "north", "alerts"],
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
        "north:Q",
        title=None,
        scale=alt.Scale(domain=[window.south, window.north], nice=False),
        axis=alt.Axis(labelExpr=_LATITUDE, tickCount=5, gridOpacity=0.4),
    )


# The latitude of a place on the axis, in vega's own language.
_LATITUDE: Final = (
    "format((2 * atan(exp(datum.value * PI / 180)) - PI / 2) * 180 / PI, '.3~f') + '°'"
)


def _finished(layers: list[Chart], height_px: int = HEIGHT_PX) -> Chart:
    return (
        alt.layer(*layers)
        .resolve_scale(color="independent", size="independent")
        .properties(height=height_px)
    )
