"""What is asked of the watch over MQTT, and what others send that parts of it want to hear."""

from collections.abc import Callable, Mapping, Sequence

from paho.mqtt.client import topic_matches_sub

from monitor.protocol import messages
from monitor.protocol.messages import Topics
from monitor.sinks.mqtt.cameras import Cameras
from monitor.sinks.mqtt.connection import Connection, Incoming
from monitor.sinks.mqtt.publisher import Publisher
from monitor.types import Command

# Takes a payload, and whether the broker had kept it from earlier.
Listener = Callable[[bytes, bool], None]


class CommandListener(Publisher):
    """Takes commands, leaves them for the cameras' loops, and answers where that is asked for.

    Args:
        topics: of the vehicle.
        cameras: where commands are left.
        on_command: called with every command that was taken.

    Attributes:
        warnings: the chime sounds; False after `cmd/warnings OFF`.
    """

    def __init__(
        self, topics: Topics, cameras: Cameras, on_command: Callable[[Command], None]
    ) -> None:
        self.warnings = True
        self._topics = topics
        self._cameras = cameras
        self._on_command = on_command

    @property
    def topics(self) -> Sequence[str]:
        """The vehicle's commands and, of several cameras, each one's."""
        of_cameras = [self._topics.command("+", camera="+")] if self._cameras.several else []
        return [self._topics.command("+"), *of_cameras]

    def hear(self, connection: Connection, incoming: Incoming) -> bool:
        """Obey a command, and answer it.

        Raises:
            ValueError: it is retained, unknown or for no camera of ours.
        """
        try:
            address = self._topics.parse(incoming.topic)
        except ValueError:
            return False  # another part's
        if address.channel != "cmd":
            return False
        if incoming.retained:
            raise ValueError("a command must not be retained: it would be obeyed at every start")
        fault = self._obey(address.name, incoming.payload, address.camera or None)
        if incoming.answer_to is not None:
            reply = messages.answer(incoming.answer_to, address.name, fault)
            connection.publish(reply, incoming.correlation)
        if fault is not None:
            raise ValueError(fault)
        return True

    def _obey(self, name: str, payload: bytes, camera: str | None) -> str | None:
        """What is wrong with the command; None if it was taken."""
        try:
            command = messages.read_command(name, payload, camera)
            self._cameras.command(command, camera)
        except ValueError as error:
            return str(error)
        if command in {Command.WARNINGS_ON, Command.WARNINGS_OFF}:
            self.warnings = command is Command.WARNINGS_ON
        self._on_command(command)
        return None


class TopicListener(Publisher):
    """Hands messages of others, a speed for one, to whoever wants them.

    Args:
        listeners: topic filters, and what takes a payload and whether it was retained.
    """

    def __init__(self, listeners: Mapping[str, Listener]) -> None:
        self._listeners = dict(listeners)

    @property
    def topics(self) -> Sequence[str]:
        """Those that are wanted."""
        return list(self._listeners)

    def hear(self, connection: Connection, incoming: Incoming) -> bool:
        """Hand it on."""
        del connection
        matches = [
            listener
            for wanted, listener in self._listeners.items()
            if topic_matches_sub(wanted, incoming.topic)
        ]
        for listener in matches:
            listener(incoming.payload, incoming.retained)
        return bool(matches)
