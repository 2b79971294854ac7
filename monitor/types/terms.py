"""The closed vocabularies: what eyes, levels, phases, causes and commands there are."""

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


class Phase(StrEnum):
    """Where in its life an event is; its id is the same in all of them."""

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
