"""The retained messages: the driver's state and each camera's status."""

import time
from collections.abc import Callable, Mapping

from monitor.protocol import messages
from monitor.protocol.messages import Topics
from monitor.protocol.schemas import Loop
from monitor.sinks.mqtt.cameras import Cameras
from monitor.sinks.mqtt.connection import Connection
from monitor.sinks.mqtt.publisher import Publisher


class StatePublisher(Publisher):
    """Sends what each camera last made out, at its pace.

    Args:
        topics: of the vehicle.
        cameras: what they made out.
        drive, policy: written on the state.
        loops: how each camera's loop does.
        warnings: whether the chime sounds.
    """

    def __init__(
        self,
        topics: Topics,
        cameras: Cameras,
        *,
        drive: str,
        policy: str,
        loops: Callable[[], Mapping[str, Loop]],
        warnings: Callable[[], bool],
    ) -> None:
        self._topics = topics
        self._cameras = cameras
        self._drive, self._policy = drive, policy
        self._loops = loops
        self._warnings = warnings

    def greet(self, connection: Connection) -> None:
        """Whatever is retained is sent again."""
        del connection
        self._cameras.greet()

    def wait_s(self, now_s: float) -> float | None:
        """Until a state is due though no frame comes."""
        return self._cameras.wait_s(now_s)

    def publish(self, connection: Connection, now_s: float) -> bool:
        """Send every state and status that is due."""
        del now_s
        for name, status in self._cameras.statuses():
            connection.publish(messages.camera_status(self._topics, name, status))
        for name, state, of_vehicle in self._cameras.states(time.monotonic()):
            loop = self._loops().get(name)
            message = messages.state(
                self._topics,
                state,
                camera=name,
                apart=not of_vehicle,
                drive=self._drive,
                policy=self._policy,
                fps=loop.fps if loop else None,
                warnings=self._warnings(),
            )
            connection.publish(message)
        return False
