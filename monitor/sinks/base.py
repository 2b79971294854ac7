"""The seam to whoever is told: chime, store, MQTT, trace, clips, the screen.

A sink never blocks the frame loop and never raises out of it: slow work belongs to the sink's own
thread. What is wrong with it is told by `trouble`, which the worker publishes as health.
"""

from typing import Protocol

from monitor.types import DriverState, Event, Frame, Observation


class Sink(Protocol):
    """Sees every frame and is told every event."""

    name: str

    def see(self, frame: Frame, observation: Observation, state: DriverState) -> None:
        """Take note of a frame and what was made of it. Returns at once."""

    def tell(self, event: Event) -> None:
        """Take an event: its start, an update, or its end. Returns at once."""

    def trouble(self) -> str | None:
        """One line on what is wrong with this sink now and the cure; None when all is well."""

    def close(self) -> None:
        """Finish what was taken and let go of everything. Returns within a few seconds."""
