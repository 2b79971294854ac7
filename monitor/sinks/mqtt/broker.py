"""An MQTT broker inside the process, on loopback alone: nothing to install, nothing to set up.

It serves one machine's demo and desk: MQTT 3.1.1, no persistence, no passwords, reachable from
this machine only. Any other broker is one setting away, `mqtt.host`.
"""

import asyncio
import logging
import socket
import threading
from typing import Self

from monitor.config import MqttConfig
from monitor.errors import BrokerError

LOOPBACK = "127.0.0.1"
START_S = 10.0


class EmbeddedBroker:
    """Runs in its own thread from construction until `close`.

    Args:
        port: TCP port on loopback; 0 takes a free one.

    Attributes:
        port: the port it listens on.

    Raises:
        BrokerError: the port is taken or may not be used.
    """

    def __init__(self, port: int) -> None:
        self.port = _free_port(port)
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._failure: Exception | None = None
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="broker", daemon=True)
        self._thread.start()
        if not self._started.wait(START_S) or self._failure is not None:
            raise BrokerError(_unusable(self.port, str(self._failure or "no answer")))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop serving."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(5.0)

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(self._serve())
        except Exception as error:  # noqa: BLE001 - raised by whoever waits for the start
            self._failure = error
        finally:
            self._started.set()

    async def _serve(self) -> None:
        # Seconds of import that only an embedded broker needs.
        from amqtt.broker import Broker  # noqa: PLC0415

        _hush()
        listener = {"type": "tcp", "bind": f"{LOOPBACK}:{self.port}"}
        plugins = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}
        broker = Broker({"listeners": {"default": listener}, "plugins": plugins})
        await broker.start()
        self._started.set()
        await self._stop.wait()
        await broker.shutdown()


def broker_for(config: MqttConfig) -> tuple[MqttConfig, EmbeddedBroker | None]:
    """Settings that name a real broker, and the embedded one where the settings ask for it.

    Raises:
        BrokerError: the embedded broker's port is taken.
    """
    if not config.enabled or config.host != "embedded":
        return config, None
    broker = EmbeddedBroker(config.port)
    # It knows no MQTT 5, and says so only by its silence.
    real = {"host": LOOPBACK, "port": broker.port, "protocol": "3.1.1"}
    return config.model_copy(update=real), broker


def _free_port(port: int) -> int:
    with socket.socket() as probe:
        # As the server will: a port whose last connection is only just closed is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            raise BrokerError(_unusable(port, error.strerror or str(error))) from None
        return int(probe.getsockname()[1])


def _unusable(port: int, why: str) -> str:
    return (
        f"mqtt.port {port}: the embedded broker cannot listen there ({why.lower()}); if a broker "
        f"runs there already, set mqtt.host to {LOOPBACK}, else set mqtt.port to another port or 0"
    )


def _hush() -> None:
    # Every client that goes away is a warning to them; what matters we tell ourselves.
    for name in ("amqtt", "transitions"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
