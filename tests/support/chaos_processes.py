"""What `tests.benchmarks.chaos` kills: a vehicle that tells and an ingester, both the real ones."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any


def vehicle_process(name: str, port: int, pace_s: float, calm: Path) -> None:
    """The real log, outbox and MQTT sink of a vehicle; events as fast as they are asked for."""
    from monitor.config import Config
    from monitor.sinks.mqtt import MqttSink
    from monitor.store import open_store

    home = Path(os.environ["WAKEFUL_HOME"])
    config = Config.model_validate(
        {
            "vehicle": name,
            "store": {"url": f"sqlite:///{home / 'vehicle.db'}"},
            "mqtt": {
                "host": "127.0.0.1",
                "port": port,
                "confirm": "application",
                "retry_s": (0.1, 1.0),
                "resend_s": 1.0,
                "discovery": False,
            },
        }
    )
    store = open_store(config)
    drive = f"{name}-{time.time_ns()}"
    sink = MqttSink(config, store, drive=drive, policy="default")
    ending = _on_sigterm()
    for event in _drive(drive, pace_s, ending, calm):
        store.record(event)
    while not ending.wait(0.05):
        if store.outbox is not None and store.flush() and store.outbox.waiting == 0:
            (home / "drained").touch()
    sink.close()
    store.close()


def _drive(drive: str, pace_s: float, ending: threading.Event, calm: Path) -> Iterator[Any]:
    """Events that begin, climb and end, until it is calm."""
    from dataclasses import replace

    from monitor.types import ClosureEvidence, Event, Kind, Level, Phase

    began_s = time.monotonic()
    number = 0
    while not calm.exists() and not ending.is_set():
        number += 1
        at_s, at = time.monotonic() - began_s, time.time()
        begin = Event(
            id=f"{drive[-27:]}-{number}",
            kind=Kind.MICROSLEEP,
            phase=Phase.START,
            level=Level.WARNING,
            started_at=at,
            at=at,
            started_s=at_s,
            at_s=at_s,
            drive=drive,
            evidence=ClosureEvidence(closed_s=1.0),
        )
        yield begin
        ending.wait(pace_s / 3)
        climbed = replace(
            begin, phase=Phase.UPDATE, kind=Kind.SLEEP, level=Level.CRITICAL,
            at=at + 2, at_s=at_s + 2, evidence=ClosureEvidence(closed_s=3.0),
        )  # fmt: skip
        yield climbed
        ending.wait(pace_s / 3)
        yield replace(climbed, phase=Phase.END, acknowledged=True, at=at + 3, at_s=at_s + 3)
        ending.wait(pace_s / 3)


def ingester_process(url: str, port: int, crash_at: str) -> None:
    """A real ingester; `--crash-at ingest.after_commit:3` kills it at the third passing."""
    from monitor.fleet.config import load_fleet
    from monitor.fleet.ingest.service import serve

    config = load_fleet(
        mqtt={"host": "127.0.0.1", "port": port, "retry_s": (0.1, 1.0)},
        database={"retry_s": (0.1, 1.0)},
        # Small transactions: more commits to be killed at.
        ingest={"batch": 50},
    )
    serve(config, url, _on_sigterm(), crashing(crash_at))


def crashing(where: str) -> Callable[[str], None]:
    """Dies by SIGKILL when the named point is passed for the n-th time, `point:n`."""
    point, _, times = where.partition(":")
    left = [int(times or 1)]

    def passing(name: str) -> None:
        if name == point:
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)

    return passing


def _on_sigterm() -> threading.Event:
    ending = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ending.set())
    return ending
