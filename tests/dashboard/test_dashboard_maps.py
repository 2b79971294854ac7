"""Maps: what lies where, without any server, or on the tiles of one that the operator named."""

import math
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard import settings
from dashboard.components import maps
from dashboard.components.maps import MOST_NORTH_DEG, mercator_deg, tiles_in, window_around
from dashboard.queries.places import TrackPoint
from monitor.errors import ConfigError

BERLIN = (52.52, 13.405)
latitudes, longitudes = st.floats(-80, 80), st.floats(-179, 179)


def test_the_square_world_of_the_tiles_ends_where_they_do() -> None:
    assert mercator_deg(0.0) == pytest.approx(0.0)
    assert mercator_deg(MOST_NORTH_DEG) == pytest.approx(180.0, abs=1e-3)
    assert mercator_deg(90.0) == mercator_deg(MOST_NORTH_DEG)


@given(latitude=latitudes, longitude=longitudes, zoom=st.integers(1, 18))
def test_a_place_lies_on_the_tile_that_every_map_server_gives_it(
    latitude: float, longitude: float, zoom: int
) -> None:
    # The formula of the OpenStreetMap wiki, "Slippy map tilenames".
    row = (1 - math.asinh(math.tan(math.radians(latitude))) / math.pi) / 2 * 2**zoom
    assert (180 - mercator_deg(latitude)) / 360 * 2**zoom == pytest.approx(row, abs=1e-6)


@given(corners=st.lists(st.tuples(latitudes, longitudes), min_size=1, max_size=5))
def test_a_window_holds_every_place_and_few_tiles_cover_it(
    corners: list[tuple[float, float]],
) -> None:
    window = window_around(corners)
    for latitude, longitude in corners:
        assert window.west <= longitude <= window.east
        assert window.south <= mercator_deg(latitude) <= window.north
    zoom, tiles = tiles_in(window)
    side = 360 / 2**zoom
    assert 1 <= len(tiles) <= 120
    assert min(tile.longitude for tile in tiles) - side / 2 <= window.west + 1e-9
    assert max(tile.longitude for tile in tiles) + side / 2 >= window.east - 1e-9
    assert max(tile.north for tile in tiles) + side / 2 >= window.north - 1e-9
    assert min(tile.north for tile in tiles) - side / 2 <= window.south + 1e-9
    assert all(0 <= tile.column < 2**zoom and 0 <= tile.row < 2**zoom for tile in tiles)


@pytest.fixture
def tiles(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The operator has named a tile server."""
    template = "https://tiles.example.org/{z}/{x}/{y}.png"
    monkeypatch.setenv(settings.TILES_VARIABLE, template)
    monkeypatch.setenv(settings.CREDIT_VARIABLE, "the example's map")
    settings.settings.cache_clear()
    yield template
    settings.settings.cache_clear()


def urls(chart: maps.Chart) -> set[str]:
    rows = [row for data in chart.to_dict()["datasets"].values() for row in data]
    return {row["url"] for row in rows if "url" in row}


def test_without_a_named_server_a_map_asks_nobody() -> None:
    settings.settings.cache_clear()
    chart = maps.drive_map([TrackPoint(0.0, *BERLIN)], *BERLIN)
    assert not urls(chart)
    assert "http" not in str(chart.to_dict()["layer"])
    assert "Natural Earth" in maps.credit()


def test_with_one_the_tiles_lie_below_and_its_map_is_credited(tiles: str) -> None:
    asked = urls(maps.drive_map([], *BERLIN))
    zoom, found = tiles_in(window_around([BERLIN]))
    assert asked == {tiles.format(z=zoom, x=tile.column, y=tile.row) for tile in found}
    assert "the example's map" in maps.credit()


@pytest.mark.parametrize(
    "template", ["tiles.example.org", "https://t/{z}/{x}.png", "ftp://t/{z}/{x}/{y}", "https://{q}"]
)
def test_an_address_that_is_no_tile_server_is_refused(
    template: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(settings.TILES_VARIABLE, template)
    settings.settings.cache_clear()
    with pytest.raises(ConfigError, match="--tiles"):
        settings.settings()
    settings.settings.cache_clear()
