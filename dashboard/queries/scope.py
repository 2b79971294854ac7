"""Whose vehicles somebody may see. Every query asks its database's scope before it answers."""

from dataclasses import dataclass
from typing import Final, Self

from sqlalchemy import ColumnElement, exists, true

from monitor.store.schema import vehicle_groups


@dataclass(frozen=True, slots=True)
class Scope:
    """The vehicles of some groups, or with None every vehicle.

    Attributes:
        groups: names of groups; an empty set is no vehicle at all.
    """

    groups: frozenset[str] | None = None

    @property
    def limited(self) -> bool:
        """Whether there are vehicles that it leaves out."""
        return self.groups is not None

    def narrowed(self, group: str | None) -> Self:
        """Of these vehicles those of one group; the scope itself for None."""
        if group is None:
            return self
        mine = self.groups is None or group in self.groups
        return type(self)(frozenset({group}) if mine else frozenset())

    def allows(self, vehicle: ColumnElement[str]) -> ColumnElement[bool]:
        """The SQL condition that a column of vehicles' identifiers lies inside."""
        if self.groups is None:
            return true()
        g = vehicle_groups.c
        return exists().where(g.vehicle == vehicle, g.group_name.in_(sorted(self.groups)))


EVERYTHING: Final = Scope()
