"""What can go wrong, as one small tree.

    WakefulError            one clear line: what, where, and the cure
    ├── ConfigError         a setting, a policy or a drive script is wrong
    ├── SourceError         a camera, video or folder cannot be opened or read
    ├── StoreError          the database cannot be opened, written or is of another version
    └── BrokerError         the MQTT broker refuses or cannot be started

Model files have their own tree in `models.checkpoint`; both derive from `ValueError` or
`OSError` siblings caught at the door, so that no user ever meets a traceback for bad input.
"""


class WakefulError(Exception):
    """Bad input or a broken part, told in one line that names what, where and the cure."""


class ConfigError(WakefulError):
    """A setting, a policy or a drive script is wrong."""


class SourceError(WakefulError):
    """A camera, a video or a folder of pictures cannot be opened or read."""


class StoreError(WakefulError):
    """The database cannot be opened or written, or belongs to another version."""


class BrokerError(WakefulError):
    """The MQTT broker refuses, or the embedded one cannot start."""
