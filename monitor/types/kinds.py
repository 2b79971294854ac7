"""The kinds of alert and the causes of an impaired watch: each in one row, and nowhere else."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

from monitor.types.terms import Cause

Sound = Literal["level", "rising", "siren", "long siren"]


class Kind(StrEnum):
    """What an event is about; `KINDS` says how each behaves."""

    DROWSY = "drowsy"  # PERCLOS
    MICROSLEEP = "microsleep"  # >= 1 s closed
    SLEEP = "sleep"  # >= 3 s closed
    UNRESPONSIVE = "unresponsive"  # >= 6 s closed, or no answer to a warning
    DISTRACTION = "distraction"  # one long look away, or VATS: 10 s in 30 s
    YAWNING = "yawning"  # corroborates, never alone a warning
    ABSENT = "absent"  # nobody in the driver's place
    DEGRADED = "degraded"  # the watch itself is impaired; the cause is in the evidence

    @property
    def track(self) -> str:
        """What one alert is about while its kind climbs: the three closures are one."""
        return KINDS[self].track

    @property
    def words(self) -> str:
        """The kind for people, as in a heading."""
        return KINDS[self].words


@dataclass(frozen=True, slots=True)
class KindSpec:
    """How alerts of one kind behave; `monitor.engine.alerts` reads it.

    Attributes:
        track: what one alert is about while its kind climbs; of each track one alert is open.
        words: for people.
        rank: how high the kind stands among those that one alert climbs through.
        about: the driver, or the watch itself.
        activation: the section of `policy.activation` with the speed below which it only informs.
        answered: looking at the road answers it, and a warning that nobody answers climbs.
        latched: once urgent, only an attentive driver releases it.
        ends_with_driver: it is over when the driver has left.
        suppressed_by: the track whose latched alert speaks for it.
        cools_down: soon after its end it may be kept quiet; every other kind is told each time.
        hinders_learning: while it stands, what is seen is not the driver's normal.
        sound: what the chime plays: that of its level, or one of its own.
    """

    track: str
    words: str
    rank: int = 0
    about: Literal["driver", "watch"] = "driver"
    activation: Literal["closure", "drowsiness", "distraction"] | None = None
    answered: bool = False
    latched: bool = True
    ends_with_driver: bool = True
    suppressed_by: str | None = None
    cools_down: bool = False
    hinders_learning: bool = True
    sound: Sound = "level"


def _closure(words: str, rank: int, sound: Sound) -> KindSpec:
    return KindSpec("closure", words, rank, activation="closure", answered=True, sound=sound)


KINDS: Final[Mapping[Kind, KindSpec]] = {
    Kind.DROWSY: KindSpec("drowsy", "Drowsy", activation="drowsiness", cools_down=True),
    Kind.MICROSLEEP: _closure("Microsleep", rank=1, sound="rising"),
    Kind.SLEEP: _closure("Sleep", rank=2, sound="siren"),
    Kind.UNRESPONSIVE: _closure("Unresponsive", rank=3, sound="long siren"),
    # A head that drops in sleep turns away, yawns and vanishes as well: one alert, not four.
    Kind.DISTRACTION: KindSpec(
        "distraction",
        "Distraction",
        activation="distraction",
        answered=True,
        suppressed_by="closure",
    ),
    Kind.YAWNING: KindSpec(
        "yawning", "Yawning", suppressed_by="closure", cools_down=True, hinders_learning=False
    ),
    Kind.ABSENT: KindSpec(
        "absent", "Driver not seen", ends_with_driver=False, suppressed_by="closure"
    ),
    Kind.DEGRADED: KindSpec(
        "degraded",
        "Not monitored",
        about="watch",
        latched=False,
        ends_with_driver=False,
        hinders_learning=False,
    ),
}


# The rungs that one closure climbs, in their order.
CLOSURES: Final = tuple(kind for kind in Kind if kind.track == "closure")


@dataclass(frozen=True, slots=True)
class CauseSpec:
    """What one cause means.

    Attributes:
        words: for people.
        blind: the camera gives no usable picture.
        failed: the system itself failed (VSS `Vehicle.ADAS.DMS.IsError`), unlike a driver out of
            sight.
        suppressed_by: the track whose latched alert speaks for it.
    """

    words: str
    blind: bool = False
    failed: bool = False
    suppressed_by: str | None = None


# In the order in which a person should hear of them.
CAUSES: Final[Mapping[Cause, CauseSpec]] = {
    Cause.CAMERA_LOST: CauseSpec("camera lost", blind=True, failed=True),
    Cause.CAMERA_FROZEN: CauseSpec("camera frozen", blind=True, failed=True),
    Cause.CAMERA_TURNED: CauseSpec("camera turned: set cameras[].rotate", blind=True, failed=True),
    Cause.MODEL_ERROR: CauseSpec("a model failed", failed=True),
    Cause.OBSCURED: CauseSpec("camera covered", blind=True, failed=True),
    Cause.LOW_LIGHT: CauseSpec("too dark", blind=True),
    Cause.GLARE: CauseSpec("glare", blind=True),
    Cause.NO_FACE: CauseSpec("no face in view"),
    Cause.EYES_NOT_VISIBLE: CauseSpec("eyes not visible", suppressed_by="closure"),
    Cause.MULTIPLE_FACES: CauseSpec("several faces"),
    Cause.LOW_FPS: CauseSpec("too few frames"),
    Cause.UNCALIBRATED: CauseSpec("still learning the driver"),
}
