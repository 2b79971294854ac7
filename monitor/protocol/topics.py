"""Where each message goes: the topics of a vehicle, and a topic taken apart again."""

import re
from dataclasses import dataclass

_IDENTIFIER = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class TopicAddress:
    """A topic taken apart: whose, which channel, the command it names, the camera it is of."""

    vehicle: str
    channel: str  # available, camera, state, alert, coverage, stats, cmd, ack, clip
    name: str = ""
    camera: str = ""


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics of one vehicle; `+` for all of them, to subscribe.

    Args:
        prefix: `dms/v1`.
        vehicle: identifier, or `+`.
    """

    prefix: str
    vehicle: str = "+"

    def __post_init__(self) -> None:
        if self.vehicle != "+" and not _IDENTIFIER.fullmatch(self.vehicle):
            raise ValueError(f"vehicle {self.vehicle!r} must match [A-Za-z0-9_-]{{1,64}}")

    def channel(self, name: str) -> str:
        """Topic of `available`, `state`, `alert`, `coverage`, `stats`, `ack` or `clip`."""
        return f"{self.prefix}/{self.vehicle}/{name}"

    def camera(self, camera: str) -> str:
        """Topic of a camera's status."""
        return self.channel(f"camera/{camera}/status")

    def camera_state(self, camera: str) -> str:
        """Topic of the state of one camera of several."""
        return self.channel(f"camera/{camera}/state")

    def command(self, name: str, camera: str | None = None) -> str:
        """Topic of a command, perhaps to one camera of several; `+` for all."""
        return self.channel(f"cmd/{name}" if camera is None else f"camera/{camera}/cmd/{name}")

    def parse(self, topic: str) -> TopicAddress:
        """Take a topic apart, segment by segment.

        Raises:
            ValueError: not one of ours, or a segment that is no identifier (`..`, `a%00`, ...).
        """
        start = f"{self.prefix}/"
        if not topic.startswith(start):
            raise ValueError(f"topic {short(topic)} is not under {self.prefix}")
        vehicle, *rest = topic[len(start) :].split("/")
        if not _IDENTIFIER.fullmatch(vehicle):
            raise ValueError(f"topic {short(topic)} names no valid vehicle")
        match rest:
            case [
                "available" | "state" | "alert" | "coverage" | "stats" | "ack" | "clip" as channel
            ]:
                return TopicAddress(vehicle, channel)
            case ["camera", name, "status"] if _IDENTIFIER.fullmatch(name):
                return TopicAddress(vehicle, "camera", name)
            case ["camera", camera, "state"] if _IDENTIFIER.fullmatch(camera):
                return TopicAddress(vehicle, "state", camera=camera)
            case ["cmd", name] if _IDENTIFIER.fullmatch(name):
                return TopicAddress(vehicle, "cmd", name)
            case ["camera", camera, "cmd", name] if _IDENTIFIER.fullmatch(
                camera
            ) and _IDENTIFIER.fullmatch(name):
                return TopicAddress(vehicle, "cmd", name, camera)
        raise ValueError(f"topic {short(topic)} is not one of ours")


def short(what: object) -> str:
    """What a stranger sent, fit for a line of the log."""
    text = repr(what)[1:] if isinstance(what, bytes) else ascii(str(what))
    return text if len(text) <= 60 else text[:57] + "..."
