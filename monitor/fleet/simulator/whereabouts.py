"""Depot, driver and place of simulated rows: pseudonyms by shift, and roads out of the depot.

A vehicle goes to and fro between its depot and a few customers, in straight lines, so that places
repeat as they do on a real fleet's roads.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from monitor.protocol.mapping import cell_of
from monitor.store import schema
from monitor.types import Position

Row = tuple[Any, ...]
Rows = list[Row]
# Degrees north and east; the names are the groups'.
DEPOTS: Final = {
    "north": (53.55, 10.0),
    "west": (50.94, 6.96),
    "south": (48.14, 11.58),
    "east": (52.52, 13.4),
}
CUSTOMERS: Final = 5
SPEED_KMH: Final = 62.0
KM_PER_DEGREE: Final = 111.2
DECIMALS: Final = 3  # as `position.decimals`
SHIFT_S: Final = 43_200.0


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """Where one vehicle belongs and goes.

    Attributes:
        group: its depot's.
        depot: latitude and longitude of it, degrees.
        customers: the ends of its roads.
        drivers: who take turns, half a day each.
    """

    group: str
    depot: tuple[float, float]
    customers: tuple[tuple[float, float], ...]
    drivers: tuple[str, str]

    @classmethod
    def of(cls, seed: int, number: int) -> "Whereabouts":
        """Those of vehicle `number` of a fleet, from 1."""
        names = sorted(DEPOTS)
        group = names[number % len(names)]
        # The customers are the depot's, not the vehicle's own.
        random = np.random.default_rng([seed, number % len(names), 4711])
        depot = DEPOTS[group]
        customers = tuple(
            _away(depot, float(km), float(angle))
            for km, angle in zip(
                random.uniform(15, 90, CUSTOMERS),
                random.uniform(0, math.tau, CUSTOMERS),
                strict=True,
            )
        )
        drivers = (f"driver-{2 * number - 1:04d}", f"driver-{2 * number:04d}")
        return cls(group, depot, customers, drivers)

    def driver(self, at: float) -> str:
        """Who drives at `at`, epoch seconds."""
        return self.drivers[int(at // SHIFT_S) % 2]

    def position(self, at: float) -> tuple[float, float]:
        """Latitude and longitude at `at`, epoch seconds, rounded."""
        customer = self.customers[int(at // SHIFT_S) % len(self.customers)]
        north, east = customer[0] - self.depot[0], customer[1] - self.depot[1]
        km = math.hypot(north, east * math.cos(math.radians(self.depot[0]))) * KM_PER_DEGREE
        legs = (at % SHIFT_S) / 3600 * SPEED_KMH / km
        share = 1 - abs(legs % 2 - 1)
        return (
            round(self.depot[0] + share * north, DECIMALS),
            round(self.depot[1] + share * east, DECIMALS),
        )


def with_whereabouts(rows: Mapping[str, Rows], own: Whereabouts) -> dict[str, Rows]:
    """A vehicle's rows by table, with its group, drivers and places."""
    (vehicle, *_), *_ = rows["vehicles"]
    placed = {name: own_rows for name, own_rows in rows.items() if name not in _TIMES}
    for name, time_column in _TIMES.items():
        columns = list(schema.metadata.tables[name].columns.keys())
        placed[name] = [_placed(row, columns, time_column, own) for row in rows[name]]
    return {**placed, "vehicle_groups": [(vehicle, own.group)]}


_TIMES: Final = {"events": "started_at", "samples": "at", "coverage": "started_at"}


def _placed(row: Row, columns: Sequence[str], time_column: str, own: Whereabouts) -> Row:
    at = float(row[columns.index(time_column)])
    values = list(row)
    values[columns.index("driver")] = own.driver(at)
    if "latitude" in columns:
        position = Position(*own.position(at))
        values[columns.index("latitude")] = position.latitude_deg
        values[columns.index("longitude")] = position.longitude_deg
        if "cell_row" in columns:
            cell = cell_of(position)
            values[columns.index("cell_row")] = cell["cell_row"]
            values[columns.index("cell_column")] = cell["cell_column"]
    return tuple(values)


def _away(place: tuple[float, float], km: float, angle: float) -> tuple[float, float]:
    north, east = km * math.cos(angle), km * math.sin(angle)
    latitude = place[0] + north / KM_PER_DEGREE
    return latitude, place[1] + east / (KM_PER_DEGREE * math.cos(math.radians(place[0])))
