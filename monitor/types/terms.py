"""The closed vocabularies: what eyes, levels, kinds, phases, causes and commands there are."""

from enum import IntEnum, StrEnum


class Eyes(StrEnum):
    """Three-valued eye evidence. `UNKNOWN` starts nothing and ends nothing."""

    OPEN = "open"
    CLOSED = "closed"
    UNKNOWN = "unknown"


class Level(IntEnum):
    """How urgent it is. `NONE` is the attentive driver."""

    NONE = 0
    INFO = 1
    CAUTION = 2
    WARNING = 3
    CRITICAL = 4


class Kind(StrEnum):
    """What an event is about: the rungs of the ladder and what stands beside it."""

    DROWSY = "drowsy"  # PERCLOS
    MICROSLEEP = "microsleep"  # >= 1 s closed
    SLEEP = "sleep"  # >= 3 s closed
    UNRESPONSIVE = "unresponsive"  # >= 6 s closed, or no answer to a warning
    DISTRACTION = "distraction"  # one long look away, or VATS: 10 s in 30 s
    YAWNING = "yawning"  # corroborates, never alone a warning
    ABSENT = "absent"  # nobody in the driver's place
    DEGRADED = "degraded"  # the watch itself is impaired; the cause is in the evidence

    @property
    def family(self) -> str:
        """What one occasion is about while its kind climbs: the three closures are one."""
        closures = (Kind.MICROSLEEP, Kind.SLEEP, Kind.UNRESPONSIVE)
        return "closure" if self in closures else self.value


class Phase(StrEnum):
    """One event is told up to this often, always with the same id."""

    START = "start"
    UPDATE = "update"
    END = "end"


class Cause(StrEnum):
    """Why the watch is impaired."""

    CAMERA_LOST = "camera_lost"
    CAMERA_FROZEN = "camera_frozen"
    CAMERA_TURNED = "camera_turned"  # upside down or on its side: set cameras[].rotate
    OBSCURED = "obscured"
    LOW_LIGHT = "low_light"
    GLARE = "glare"
    LOW_FPS = "low_fps"
    NO_FACE = "no_face"
    EYES_NOT_VISIBLE = "eyes_not_visible"
    MULTIPLE_FACES = "multiple_faces"
    UNCALIBRATED = "uncalibrated"
    MODEL_ERROR = "model_error"


class Command(StrEnum):
    """What a driver or an operator may ask of the watch while it runs."""

    ACKNOWLEDGE = "ack"
    RECALIBRATE = "calibrate"
    WARNINGS_ON = "warnings_on"
    WARNINGS_OFF = "warnings_off"  # mutes the chime; the watch, the log and MQTT go on


class CameraCondition(StrEnum):
    """What the source says of itself with every frame, or in place of one."""

    OK = "ok"
    LOST = "lost"
    FROZEN = "frozen"
    DARK = "dark"
    TURNED = "turned"  # the picture lies on its side or hangs upside down
    GLARE = "glare"
