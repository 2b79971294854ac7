"""The seam to whoever is told: chime, store, MQTT, trace, clips, the screen.

A sink never blocks the frame loop and never raises out of it: slow work belongs to the sink's own
thread. What is wrong with it is told by `trouble`, which the worker publishes as health.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitor.types import Command, DriverState, Event, Frame, Observation

Overlay = NDArray[np.float32] | None


@dataclass(frozen=True, slots=True)
class Step:
    """One frame's way through the watch: what was given, and what was made of it.

    Attributes:
        frame: the picture.
        observation: what was measured on it.
        speed_kmh: the vehicle's speed; None if unknown.
        commands: asked since the frame before.
        state: what is true of the driver now.
        overlay: (478, 2 or 3) landmarks in pixels of the picture, to be drawn; None without.
    """

    frame: Frame
    observation: Observation
    speed_kmh: float | None
    commands: tuple[Command, ...]
    state: DriverState
    overlay: Overlay = None


class Sink:
    """Takes every step of a camera's loop and every event; does nothing with either by itself."""

    name: str

    def on_step(self, step: Step) -> None:
        """Take note of a frame and what was made of it. Returns at once."""

    def on_event(self, event: Event) -> None:
        """Take an event: its start, an update, or its end. Returns at once."""

    def trouble(self) -> str | None:
        """One line on what is wrong with this sink now and the cure; None when all is well."""
        return None

    def close(self) -> None:
        """Finish what was taken and let go of everything. Returns within a few seconds."""
