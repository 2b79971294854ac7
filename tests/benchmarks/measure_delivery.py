"""How fast an alert reaches a subscriber, and what the telling costs the frame loop.

    python -m tests.benchmarks.measure_delivery [EVENTS]

An event is put into the store as the engine puts it; a subscriber at a real Mosquitto on loopback
stamps its arrival. In between: one commit with fsync, then QoS 1. A quiet machine is needed; the
load is printed beside the numbers.
"""

import json
import os
import socket
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from rich.console import Console
from rich.table import Table

from monitor.config import TraceConfig
from monitor.sinks.mqtt import MqttSink
from monitor.sinks.store import StoreSink
from monitor.sinks.trace import TraceHeader, TraceWriter
from monitor.store import open_store
from tests.monitor.test_trace import FULL
from tests.support.events import event, given_step, moment, settings
from tests.support.servers import Mosquitto, until

FRAMES_AN_EVENT = 6
FRAME_S = 1 / 30


def main() -> None:
    """Measure and print."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    with tempfile.TemporaryDirectory() as folder:
        arrived, tell_s, see_s = _tell(Path(folder), count)
        record_s = _trace(Path(folder))
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    table = Table("", "p50", "p95", "p99", title=f"load {load} on {os.cpu_count()} cores")
    _add(table, f"event to subscriber, ms (n = {count})", arrived, 1e3)
    _add(table, "store and mqtt, one event, us", tell_s, 1e6)
    _add(table, "store and mqtt, one frame, us", see_s, 1e6)
    _add(table, "trace, one frame, us", record_s, 1e6)
    Console().print(table)


def _add(table: Table, name: str, values: list[float], scale: float) -> None:
    ordered = sorted(values)
    shares = (ordered[int(share * (len(ordered) - 1))] for share in (0.5, 0.95, 0.99))
    table.add_row(name, *(f"{value * scale:.2f}" for value in shares))


def _tell(folder: Path, count: int) -> tuple[list[float], list[float], list[float]]:
    told: dict[str, float] = {}
    heard: dict[str, float] = {}

    def hear(_: Any, __: Any, message: paho.MQTTMessage) -> None:
        heard[json.loads(message.payload)["subject"]] = time.perf_counter()

    tell_s, see_s = [], []
    with Mosquitto(folder) as broker:
        config = settings(folder, mqtt={"host": "127.0.0.1", "port": broker.port})
        listener = paho.Client(CallbackAPIVersion.VERSION2)
        listener.on_message = hear
        listener.on_connect = lambda client, *_: client.subscribe("dms/v1/+/alert", 1)
        listener.on_socket_open = lambda _, __, sock: sock.setsockopt(
            socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
        )
        listener.connect("127.0.0.1", broker.port)
        listener.loop_start()
        whose = {"vehicle": config.vehicle, "drive": "drive-1", "camera": "driver"}
        with closing(open_store(config)) as store:
            log = StoreSink(store, **whose, sample_every_s=5.0, coverage_every_s=600.0)
            with closing(MqttSink(config, store, drive="drive-1", policy="default")) as mqtt:
                until(lambda: mqtt.connected, what="connected")
                for number in range(count):
                    one = event(f"measured-{number}", began_s=float(number))
                    told[one.id] = began_s = time.perf_counter()
                    log.on_event(one)
                    mqtt.on_event(one)
                    tell_s.append(time.perf_counter() - began_s)
                    for frame in range(FRAMES_AN_EVENT):
                        now = moment(number + frame * FRAME_S)
                        began_s = time.perf_counter()
                        log.on_step(now)
                        mqtt.on_step(now)
                        see_s.append(time.perf_counter() - began_s)
                        time.sleep(FRAME_S / FRAMES_AN_EVENT)
                until(lambda: len(heard) == count, what="everything arrived")
        listener.disconnect()
        listener.loop_stop()
    return [heard[id_] - at_s for id_, at_s in told.items()], tell_s, see_s


def _send_at_once(_: Any, __: Any, connection: Any) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _trace(folder: Path) -> list[float]:
    record_s = []
    header = TraceHeader("car-7", "drive-1", "driver", "default")
    with closing(TraceWriter(TraceConfig(folder=folder / "traces"), header)) as trace:
        for _ in range(2000):
            began_s = time.perf_counter()
            trace.on_step(given_step(FULL, 50.0))
            record_s.append(time.perf_counter() - began_s)
            time.sleep(0.0005)
    return record_s


if __name__ == "__main__":
    main()
