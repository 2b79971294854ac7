"""The door to every source of frames.

>>> with open_source(config.cameras[0]) as source:
...     for frame in source:
...         observe(frame)

| `source`                                | kind                                             |
|-----------------------------------------|--------------------------------------------------|
| `0`, `/dev/video0`, `/dev/v4l/by-id/…`  | device, live                                     |
| `rtsp://…`, `http(s)://…`, `rtmp://…`   | stream, live                                     |
| `animated`                              | the animated driver, by `script` and `portrait`  |
| a folder                                | its pictures at `fps` (10 if not given)          |
| a file                                  | video, GIF or WebP, every frame at its own time  |
"""

import time
from collections.abc import Callable
from pathlib import Path

from monitor.addresses import redacted, scheme_of
from monitor.camera.animation import AnimationReader, is_animation
from monitor.camera.live import CvCapture, LiveSource, names_device
from monitor.camera.recordings import (
    DEMO_SCRIPT,
    FOLDER_FPS,
    AnimatedReader,
    FolderReader,
    Reader,
    RecordedSource,
)
from monitor.camera.source import Source
from monitor.camera.video import VideoReader
from monitor.config import CameraConfig
from monitor.errors import SourceError

__all__ = ["DEMO_SCRIPT", "Source", "open_source"]

_STREAMS = frozenset(
    {"rtsp", "rtsps", "rtmp", "rtmps", "http", "https", "udp", "tcp", "rtp", "srt"}
)
_KINDS = "a device, a video, a GIF, a folder, rtsp:// or http(s)://, or `animated`"


def open_source(
    config: CameraConfig,
    *,
    clock: Callable[[], float] = time.monotonic,
    wall: Callable[[], float] = time.time,
) -> Source:
    """Open a camera, a stream or a recording.

    A live camera that is not there yet is no error: the source tells it lost and keeps trying.

    Args:
        config: which, and how.
        clock: monotonic seconds; capture time of live frames, pace of `realtime`.
        wall: UTC epoch seconds.

    Raises:
        SourceError: no such file, not a video, no picture in it: one line with the cure.
        ConfigError: the animated driver's script is wrong.
    """
    source = config.source.strip()
    if names_device(source) or scheme_of(source) in _STREAMS:
        live = config.model_copy(update={"source": source})
        return LiveSource(lambda: CvCapture(live), live, clock, wall)
    return RecordedSource(_reader(source, config), config, clock, wall)


def _reader(source: str, config: CameraConfig) -> Reader:
    if source == "animated":
        return AnimatedReader(config)
    if scheme_of(source) == "file":
        source = source[len("file://") :]
    if "://" in source:
        raise SourceError(f"{redacted(source)}: unknown kind of address; a source is {_KINDS}")
    if not source:
        raise SourceError(f"camera {config.id}: no source given; a source is {_KINDS}")
    path = Path(source).expanduser()
    try:
        if path.is_dir():
            return FolderReader(path, config.fps or FOLDER_FPS)
        if path.is_file() and is_animation(path):
            return AnimationReader(path)
        if path.is_file():
            return VideoReader(path, config.fps, config.pixel_aspect)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise SourceError(f"{redacted(source):.200}: cannot be read ({why})") from None
    raise SourceError(f"{redacted(source)}: no such file or device; a source is {_KINDS}")
