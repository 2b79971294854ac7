"""Depots and other groups of vehicles."""

from collections.abc import Mapping

from sqlalchemy import select

from dashboard.queries.database import Database
from monitor.store.schema import vehicle_groups


def names(database: Database) -> list[str]:
    """The groups of the vehicles in the scope, sorted; of a limited scope its own."""
    g = vehicle_groups.c
    statement = select(g.group_name).where(database.allows(g.vehicle)).distinct()
    members = {row["group_name"] for row in database.rows(statement.order_by(g.group_name))}
    allowed = database.scope.groups
    return sorted(members if allowed is None else members & allowed)


def of_vehicles(database: Database) -> Mapping[str, list[str]]:
    """The groups of each vehicle in the scope."""
    g = vehicle_groups.c
    statement = select(g.vehicle, g.group_name).where(database.allows(g.vehicle))
    by_vehicle: dict[str, list[str]] = {}
    allowed = database.scope.groups
    for row in database.rows(statement.order_by(g.vehicle, g.group_name)):
        if allowed is None or row["group_name"] in allowed:
            by_vehicle.setdefault(row["vehicle"], []).append(row["group_name"])
    return by_vehicle
