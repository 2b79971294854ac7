"""The seam between an MQTT session and the parts that send and hear over it."""

from collections.abc import Sequence

from monitor.sinks.mqtt.connection import Connection, Incoming, Receipt


class Publisher:
    """One part of what a vehicle sends and hears; called on the session's thread alone."""

    @property
    def topics(self) -> Sequence[str]:
        """What to subscribe to."""
        return ()

    @property
    def idle(self) -> bool:
        """Nothing is left to be sent before a clean end."""
        return True

    def greet(self, connection: Connection) -> None:
        """A new connection stands, and `topics` are subscribed."""

    def wait_s(self, now_s: float) -> float | None:
        """Seconds until `publish` has something to do; None while it has nothing."""
        del now_s
        return None

    def publish(self, connection: Connection, now_s: float) -> bool:
        """Send what is due; True if there may be more at once."""
        del connection, now_s
        return False

    def hear(self, connection: Connection, incoming: Incoming) -> bool:
        """Take a message; False if it is not for this part.

        Raises:
            ValueError: it is, and it is wrong.
        """
        del connection, incoming
        return False

    def confirm(self, receipt: Receipt, now_s: float) -> bool:
        """Take the broker's word on a packet; False if this part did not send it."""
        del receipt, now_s
        return False

    def disconnected(self) -> None:
        """The connection is gone, and with it everything under way."""
