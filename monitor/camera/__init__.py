"""The door to every source of frames.

>>> with open_source(config.cameras[0]) as source:
...     for frame in source:
...         observe(frame)

| `source`                                | kind                                             |
|-----------------------------------------|--------------------------------------------------|
| `0`, `/dev/video0`                      | device, live                                     |
| `rtsp://…`, `rtsps://…`, `http(s)://…`  | stream, live                                     |
| `animated`                              | the animated driver, by `script` and `portrait`  |
| a folder                                | its pictures at `fps` (10 if not given)          |
| a file                                  | video or GIF, every frame at its own time        |
"""

import time
from collections.abc import Callable
from pathlib import Path

from monitor.camera.live import CvCapture, LiveSource, device_index, redacted
from monitor.camera.recordings import (
    DEMO_SCRIPT,
    FOLDER_FPS,
    AnimatedReader,
    FolderReader,
    Reader,
    RecordedSource,
    VideoReader,
)
from monitor.camera.source import Source
from monitor.config import CameraConfig
from monitor.errors import SourceError

__all__ = ["DEMO_SCRIPT", "Source", "open_source"]

_STREAMS = ("rtsp://", "rtsps://", "http://", "https://")
_KINDS = "a device index, a video, a GIF, a folder, rtsp:// or http(s)://, or `animated`"


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
    if device_index(source) is not None or source.lower().startswith(_STREAMS):
        live = config.model_copy(update={"source": source})
        return LiveSource(lambda: CvCapture(live), live, clock, wall)
    return RecordedSource(_reader(source, config), config, clock, wall)


def _reader(source: str, config: CameraConfig) -> Reader:
    if source == "animated":
        return AnimatedReader(config)
    if "://" in source:
        raise SourceError(f"{redacted(source)}: unknown kind of address; a source is {_KINDS}")
    if not source:
        raise SourceError(f"camera {config.id}: no source given; a source is {_KINDS}")
    path = Path(source).expanduser()
    try:
        if path.is_dir():
            return FolderReader(path, config.fps or FOLDER_FPS)
        if path.is_file():
            return VideoReader(path)
    except (OSError, ValueError) as error:
        raise SourceError(f"{source:.200}: cannot be read ({error})") from None
    raise SourceError(f"{source}: no such file or device; a source is {_KINDS}")
