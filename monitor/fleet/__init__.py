"""The other end of the line: many vehicles, one database."""

from monitor.fleet.cli import fleet_app

__all__ = ["fleet_app"]
