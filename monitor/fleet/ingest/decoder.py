"""Arrivals into a batch: each message is read strictly and put where it belongs, or aside."""

import json
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple, Protocol

from monitor.clock import is_set
from monitor.fleet.config import IngestConfig
from monitor.fleet.ingest.upsert import DeadLetter, IngestBatch, Seen
from monitor.protocol.messages import Topics, read
from monitor.protocol.schemas import Ack, Alert, Availability, CameraStatus, Coverage, State, Stats
from monitor.sinks.store import CLOSE_STEP_S
from monitor.types import Eyes

# A vehicle's id costs some 200 bytes to remember; beyond this, history starts afresh.
REMEMBERED = 200_000
# States come about a second apart: one that is this much early is due.
EARLY_S = 0.1
_MESSAGE_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class Arrival(NamedTuple):
    """A message as the network brought it.

    Attributes:
        topic, payload: as sent.
        at: wall clock of its arrival, epoch seconds.
        mid, qos: of the MQTT packet, for its acknowledgement.
        connection: number of the connection it came on; an acknowledgement holds for that one only.
    """

    topic: str
    payload: bytes
    at: float
    mid: int = 0
    qos: int = 0
    connection: int = 0


@dataclass(slots=True)
class Sorted:
    """A batch, and which message ids of which vehicle it will have stored."""

    batch: IngestBatch = field(default_factory=IngestBatch)
    ids: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    taken: Counter[str] = field(default_factory=Counter)
    skipped: int = 0


class Tally(Protocol):
    """Who counts what was sorted."""

    def took(self, channel: str, messages: int) -> None:
        """So many messages of this channel were read."""

    def refused(self, channel: str, reason: str) -> None:
        """A message of this channel could not be read."""

    def skew(self, vehicle: str, seconds: float, flagged: bool) -> None:
        """A vehicle's clock was seen to be off by this much."""


class Sorter:
    """Reads arrivals; remembers per vehicle when state and history were last kept.

    Args:
        prefix: of the topics.
        config: how often states are kept, and what skew is flagged.
        tally: counts.
    """

    def __init__(self, prefix: str, config: IngestConfig, tally: Tally) -> None:
        self._topics = Topics(prefix)
        # The same few topics come again and again.
        self._address = lru_cache(REMEMBERED)(self._topics.parse)
        self._config = config
        self._tally = tally
        self._state_at: dict[tuple[str, str], float] = {}
        self._sample_at: dict[tuple[str, str], float] = {}

    def sort(self, arrivals: list[Arrival]) -> Sorted:
        """Put each arrival where it belongs. Never raises: what cannot be read is a dead letter."""
        into = Sorted()
        for arrival in arrivals:
            try:
                self._put(arrival, into)
            except ValueError as error:
                self.refuse(arrival, str(error), into)
            # An ingester that dies of one message dies of it for ever: the broker sends it again.
            except Exception as error:  # noqa: BLE001
                self.refuse(arrival, f"unforeseen {type(error).__name__}: {error}", into)
        for channel, messages in into.taken.items():
            self._tally.took(channel, messages)
        return into

    def refuse(self, arrival: Arrival, reason: str, into: Sorted) -> None:
        """Set an arrival aside as a dead letter, and let its vehicle stop sending it."""
        try:
            vehicle, channel = self._topics.parse(arrival.topic).vehicle, arrival.topic
            channel = channel.rpartition("/")[2]
        except ValueError:
            vehicle, channel = "", "unknown"
        self._tally.refused(channel, reason)
        into.batch.dead.append(DeadLetter(arrival.at, arrival.topic, arrival.payload, reason))
        message = _claimed_id(arrival.payload) if channel in {"alert", "coverage"} else None
        if vehicle and message:
            into.ids[vehicle].append(message)

    def _put(self, arrival: Arrival, into: Sorted) -> None:
        address = self._address(arrival.topic)
        vehicle, at, batch = address.vehicle, arrival.at, into.batch
        if address.channel == "state" and not self._due(vehicle, address.camera, at):
            into.skipped += 1
            return
        content = read(address, arrival.payload)
        into.taken[address.channel] += 1
        match content:
            case Alert():
                batch.tell(content, at)
                into.ids[vehicle].append(content.id)
            case Coverage():
                batch.coverage.append(content)
                into.ids[vehicle].append(content.id)
            case State():
                self._keep_state(content, address.camera, at, batch)
            case Stats():
                batch.stats[vehicle] = content
            case Availability():
                batch.statuses.append(Seen(vehicle, at, content))
            case CameraStatus():
                batch.statuses.append(Seen(vehicle, at, content, address.name))
            case Ack():
                raise ValueError("an acknowledgement is for vehicles, not for the fleet")
        batch.seen[vehicle] = max(at, batch.seen.get(vehicle, 0.0))

    def _due(self, vehicle: str, camera: str, at: float) -> bool:
        return at - self._state_at.get((vehicle, camera), 0.0) >= self._config.state_every_s

    def _keep_state(self, state: State, camera: str, at: float, batch: IngestBatch) -> None:
        """`camera` is empty for the vehicle's own state, the one that is shown live."""
        if len(self._state_at) > REMEMBERED:
            self._state_at.clear()
            self._sample_at.clear()
        self._state_at[state.vehicle, camera] = at
        if not camera:
            batch.states[state.vehicle] = (state, at)
            skew_s = state.at - at
            self._tally.skew(state.vehicle, skew_s, abs(skew_s) > self._config.skew_s)
        key = state.vehicle, state.camera
        every_s = self._config.sample_every_s
        if _pressing(state):
            every_s = min(every_s, CLOSE_STEP_S)
        # By the vehicle's own clock, either way: one that jumps back is still due.
        if abs(state.at - self._sample_at.get(key, 0.0)) >= every_s - EARLY_S:
            self._sample_at[key] = state.at
            # States come live: one of a clock that was not set is as old as its arrival.
            batch.samples.append(state if is_set(state.at) else state.model_copy(update={"at": at}))


def _pressing(state: State) -> bool:
    """Whoever judges what happens now must see more of it."""
    return state.eyes is Eyes.CLOSED or state.level not in {"none", "info"}


def _claimed_id(payload: bytes) -> str | None:
    """The CloudEvents id that an unreadable message claims, if it can be made out."""
    try:
        claimed = json.loads(payload)["id"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return claimed if isinstance(claimed, str) and _MESSAGE_ID.fullmatch(claimed) else None
