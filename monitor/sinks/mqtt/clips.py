"""The clip of one alert, sent to the fleet piece by piece where its owner allowed that.

The fleet asks for a piece of a file from an offset on (`cmd/clip`) and asks again for what did not
come: nothing is remembered here, so a cut connection or a restart loses nothing. One part is under
way at a time, behind the alerts.
"""

import hashlib
from base64 import b64encode
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from monitor.config import ClipsConfig, state_dir
from monitor.protocol import messages
from monitor.protocol.messages import Topics
from monitor.protocol.schemas import ClipAsk, ClipPart
from monitor.sinks.mqtt.connection import Connection, Incoming, Receipt
from monitor.sinks.mqtt.publisher import Publisher
from monitor.store import Store

PART_BYTES = 32_768
# What a part's JSON has besides its data.
ENVELOPE_BYTES = 1024
OFF = "this vehicle does not send clips (clips.send is off)"
GONE = "the vehicle has no clip of this alert, or no longer"
WAITING = 8  # requests; the fleet asks again for what is dropped here


@dataclass(slots=True)
class _Sending:
    """What is left of a request.

    Attributes:
        offset: of the next part.
        parts: how many more were asked for.
    """

    ask: ClipAsk
    path: Path
    total_bytes: int
    sha256: str
    offset: int
    parts: int


class ClipSender(Publisher):
    """Answers the fleet's requests for clips.

    Args:
        topics: of the vehicle.
        config: whether clips may be sent, and where they lie.
        store: writes to the audit which clip was sent.
        max_payload_bytes: what the broker takes.
    """

    def __init__(
        self, topics: Topics, config: ClipsConfig, store: Store, max_payload_bytes: int
    ) -> None:
        self._topics, self._config, self._store = topics, config, store
        self._folder = config.folder or state_dir() / "clips"
        room = (max_payload_bytes - ENVELOPE_BYTES) * 3 // 4  # base64
        self._part_bytes = max(256, min(PART_BYTES, room))
        self._sending: deque[_Sending] = deque(maxlen=WAITING)
        self._refusals: deque[ClipPart] = deque(maxlen=WAITING)
        self._under_way: int | None = None

    def hear(self, connection: Connection, incoming: Incoming) -> bool:
        """Take a request for a clip.

        Raises:
            ValueError: it is retained, or none.
        """
        del connection
        if incoming.topic != self._topics.command("clip"):
            return False
        if incoming.retained:
            raise ValueError("a request for a clip must not be retained")
        ask = messages.read_clip_ask(incoming.payload)
        path = self._folder / f"{ask.event}.mp4"
        try:
            reason = None if self._config.send else OFF
            if reason is None:
                self._begin(ask, path)
        except OSError:
            reason = GONE
        if reason is not None:
            self._refusals.append(self._refusal(ask, reason))
        return True

    def publish(self, connection: Connection, now_s: float) -> bool:
        """Send one part, if none is under way."""
        del now_s
        while self._refusals:
            connection.publish(messages.clip_part(self._topics, self._refusals.popleft()))
        if self._sending and self._under_way is None:
            part = self._next_part()
            self._under_way = connection.publish(messages.clip_part(self._topics, part))
        return False

    def confirm(self, receipt: Receipt, now_s: float) -> bool:
        """The broker has the part, or will not have it: the fleet will ask again."""
        del now_s
        if receipt.mid != self._under_way:
            return False
        self._under_way = None
        if receipt.refusal is not None:
            self._sending.clear()
        return True

    def disconnected(self) -> None:
        """What was under way is forgotten; the fleet asks again."""
        self._sending.clear()
        self._refusals.clear()
        self._under_way = None

    def _begin(self, ask: ClipAsk, path: Path) -> None:
        content = path.read_bytes()
        for other in [s for s in self._sending if s.ask.request == ask.request]:
            self._sending.remove(other)
        digest = hashlib.sha256(content).hexdigest()
        if ask.offset == 0:
            self._store.audit("clips.send", path.name, {"request": ask.request})
        self._sending.append(_Sending(ask, path, len(content), digest, ask.offset, ask.parts))

    def _next_part(self) -> ClipPart:
        sending = self._sending[0]
        try:
            with sending.path.open("rb") as file:
                file.seek(sending.offset)
                data = file.read(self._part_bytes)
        except OSError:
            self._sending.popleft()
            return self._refusal(sending.ask, GONE)
        part = ClipPart(
            vehicle=self._topics.vehicle,
            request=sending.ask.request,
            event=sending.ask.event,
            total_bytes=sending.total_bytes,
            sha256=sending.sha256,
            offset=sending.offset,
            data=b64encode(data),
        )
        sending.offset += len(data)
        sending.parts -= 1
        if sending.parts == 0 or sending.offset >= sending.total_bytes:
            self._sending.popleft()
        return part

    def _refusal(self, ask: ClipAsk, reason: str) -> ClipPart:
        return ClipPart(
            vehicle=self._topics.vehicle, request=ask.request, event=ask.event, reason=reason
        )
