"""Fetches the clips that operators asked for; see `wakeful fleet clips`.

A vehicle is asked for the parts from an offset on, and asked again for what did not come: after a
cut, after its restart or ours, when it says that it is online. How far a clip has come is the size
of its partial file.
"""

import queue
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import paho.mqtt.client as mqtt
import structlog
from sqlalchemy import Engine

from monitor.backoff import Backoff
from monitor.config import MqttConfig
from monitor.fleet.clips import requests
from monitor.fleet.clips.partial_file import PartialFile
from monitor.fleet.clips.requests import OpenRequest
from monitor.fleet.config import FleetClipsConfig
from monitor.protocol import messages
from monitor.protocol.messages import Topics
from monitor.protocol.schemas import Availability, ClipAsk, ClipPart
from monitor.sinks.mqtt.client import new_client

log = structlog.get_logger(__name__)

# A checksum that is wrong twice is no accident of the transfer.
ATTEMPTS = 2


@dataclass(slots=True)
class _Turn:
    """When a vehicle is asked next for one of its clips."""

    backoff: Backoff
    ask_at: float = 0.0
    parts_to_come: int = 0


class ClipFetcher:
    """One fetcher for one folder of clips.

    Args:
        mqtt_config: the broker, and a user who may write commands and read clips.
        config: how much is fetched and kept.
        folder: of the clips.
        engine: of a database at the current version.
        clock: epoch seconds.

    Attributes:
        connected: the broker has granted the subscriptions.
    """

    def __init__(
        self,
        mqtt_config: MqttConfig,
        config: FleetClipsConfig,
        folder: Path,
        engine: Engine,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.connected = False
        self._mqtt_config, self._config = mqtt_config, config
        self._folder, self._engine, self._clock = folder, engine, clock
        self._topics = Topics(mqtt_config.prefix)
        self._turns: dict[str, _Turn] = {}
        self._wrong: Counter[str] = Counter()
        self._arrivals: queue.SimpleQueue[tuple[str, bytes]] = queue.SimpleQueue()
        self._client = new_client(mqtt_config)
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_message = lambda _, __, m: self._arrivals.put((m.topic, bytes(m.payload)))

    def start(self) -> None:
        """Connect in the background, and again whenever the connection is lost."""
        config = self._mqtt_config
        self._client.connect_async(config.host, config.port, config.keepalive_s)
        self._client.loop_start()

    def step(self, wait_s: float) -> None:
        """Take in what came within `wait_s`, and ask for what is due."""
        now = self._clock()
        for late in requests.give_up_late(self._engine, now):
            PartialFile(self._folder, late).discard()
        self._retain(now)
        wanted = {request.id: request for request in requests.open_requests(self._engine)}
        self._turns = {id_: turn for id_, turn in self._turns.items() if id_ in wanted}
        self._take(wanted, wait_s)
        if self.connected:
            for request in wanted.values():
                self._ask(request)

    def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()

    def _on_connect(
        self, client: mqtt.Client, _: object, __: object, reason: object, *___: object
    ) -> None:
        if getattr(reason, "is_failure", False):
            log.warning("the broker refuses", why=str(reason))
            return
        client.subscribe(
            [(self._topics.channel("clip"), 1), (self._topics.channel("available"), 1)]
        )
        self.connected = True
        log.info("fetching clips", broker=f"{self._mqtt_config.host}:{self._mqtt_config.port}")

    def _on_disconnect(self, *_: object) -> None:
        self.connected = False

    # --- what comes ----------------------------------------------------------------------------

    def _take(self, wanted: dict[str, OpenRequest], wait_s: float) -> None:
        until_s = time.monotonic() + wait_s
        while (left_s := until_s - time.monotonic()) > 0:
            try:
                topic, payload = self._arrivals.get(timeout=left_s)
                address = self._topics.parse(topic)
                content = messages.read(address, payload)
            except queue.Empty:
                return
            except ValueError as error:
                log.warning("message ignored", why=str(error))
                continue
            if isinstance(content, ClipPart):
                self._part(content, wanted)
            elif content is Availability.ONLINE:
                self._soon(address.vehicle, wanted)

    def _soon(self, vehicle: str, wanted: dict[str, OpenRequest]) -> None:
        """The vehicle is there again: it is asked at once."""
        for request in wanted.values():
            if request.vehicle == vehicle:
                self._turns.pop(request.id, None)

    def _part(self, part: ClipPart, wanted: dict[str, OpenRequest]) -> None:
        request = wanted.get(part.request)
        if request is None or (request.vehicle, request.event) != (part.vehicle, part.event):
            return  # of an earlier request, or nobody asked this vehicle for it
        if part.reason is not None:
            self._end(request, wanted, "refused", part.reason)
        elif part.total_bytes > self._config.max_bytes:
            reason = f"it has {part.total_bytes} bytes; clips.max_bytes is {self._config.max_bytes}"
            self._end(request, wanted, "failed", reason)
        else:
            self._append(part, request, wanted)

    def _append(self, part: ClipPart, request: OpenRequest, wanted: dict[str, OpenRequest]) -> None:
        partial, now = PartialFile(self._folder, request.id), self._clock()
        if request.sha256 not in {None, part.sha256}:
            partial.discard()  # the vehicle's file is another one now
        if partial.add(part):
            progress = {"received_bytes": partial.size, "total_bytes": part.total_bytes}
            requests.note(
                self._engine, request.id, now, status="sending", sha256=part.sha256, **progress
            )
            wanted[request.id] = replace(request, status="sending", sha256=part.sha256)
            self._expect_more(request.id)
        if partial.is_whole(part):
            self._finish(partial, part, request, wanted)

    def _expect_more(self, request: str) -> None:
        turn = self._turns.get(request)
        if turn is None:
            return
        turn.backoff.reset()
        turn.parts_to_come -= 1
        due_s = 0.0 if turn.parts_to_come <= 0 else self._config.retry_s[0]
        turn.ask_at = self._clock() + due_s

    def _finish(
        self,
        partial: PartialFile,
        part: ClipPart,
        request: OpenRequest,
        wanted: dict[str, OpenRequest],
    ) -> None:
        now = self._clock()
        if partial.is_right(part.sha256):
            file = self._folder / f"{request.event}.mp4"
            partial.finish(file)
            keep_until = now + self._config.keep_days * 86_400
            requests.store(self._engine, request, file.name, part.sha256, now, keep_until)
            del wanted[request.id]
            return
        self._wrong[request.id] += 1
        partial.discard()
        if self._wrong[request.id] >= ATTEMPTS:
            self._end(
                request, wanted, "failed", "what came is not what the vehicle's checksum says"
            )
        else:
            self._turns.pop(request.id, None)

    def _end(
        self, request: OpenRequest, wanted: dict[str, OpenRequest], status: str, reason: str
    ) -> None:
        PartialFile(self._folder, request.id).discard()
        requests.note(self._engine, request.id, self._clock(), status=status, reason=reason)
        wanted.pop(request.id, None)

    # --- what is asked for ---------------------------------------------------------------------

    def _ask(self, request: OpenRequest) -> None:
        now = self._clock()
        turn = self._turns.setdefault(request.id, _Turn(Backoff(*self._config.retry_s)))
        if now < turn.ask_at:
            return
        turn.ask_at = now + turn.backoff.next_s()
        turn.parts_to_come = self._config.parts
        offset = PartialFile(self._folder, request.id).size
        ask = ClipAsk(
            request=request.id, event=request.event, offset=offset, parts=self._config.parts
        )
        message = messages.clip_ask(Topics(self._mqtt_config.prefix, request.vehicle), ask)
        self._client.publish(message.topic, message.payload, message.qos)

    def _retain(self, now: float) -> None:
        for request, event, file in requests.kept_too_long(self._engine, now):
            # The name is ours: `<event>.mp4`.
            (self._folder / Path(file).name).unlink(missing_ok=True)
            requests.forget_file(self._engine, request, event, now)
