"""Pictures to a film that browsers play: H.264 in MP4, its index in front."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from monitor.types import Box, Image

BLUR_SHARE = 6  # the face is reduced to about this many blots a side: nobody is recognised
# In the film's comment: where the alert begins, so that a player can start there.
_ALERT_AT = "alert_at_s="
MARGIN = 0.35  # chin, hair and ears are outside of a face box


def write_mp4(
    path: Path, pictures: Sequence[tuple[float, bytes]], alert_at_s: float | None = None
) -> None:
    """Write JPEG pictures with their times as one film; it appears under `path` when whole.

    Args:
        path: of the film; its folder exists.
        pictures: (time in seconds, JPEG bytes), in order, at least one.
        alert_at_s: when the alert began, on the same clock; written into the film.

    Raises:
        OSError: it cannot be written.
    """
    part = path.with_name(f".{path.name}.part")
    first = _decoded(pictures[0][1])
    # yuv420p needs even sides.
    height, width = (side - side % 2 for side in first.shape[:2])
    try:
        with av.open(str(part), "w", format="mp4", options={"movflags": "+faststart"}) as film:
            if alert_at_s is not None:
                film.metadata["comment"] = f"{_ALERT_AT}{alert_at_s - pictures[0][0]:.3f}"
            stream = film.add_stream("libx264", rate=30, options={"preset": "veryfast"})
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            stream.codec_context.time_base = Fraction(1, 1000)
            last_ms = -1
            for at_s, jpeg in pictures:
                picture = np.ascontiguousarray(_decoded(jpeg)[:height, :width])
                frame = av.VideoFrame.from_ndarray(picture, format="bgr24")
                last_ms = max(last_ms + 1, round((at_s - pictures[0][0]) * 1000))
                frame.pts, frame.time_base = last_ms, Fraction(1, 1000)
                film.mux(stream.encode(frame))
            film.mux(stream.encode())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def alert_start_s(path: Path) -> float | None:
    """How far into a film its alert begins, in seconds; None where the film does not say."""
    try:
        with av.open(str(path)) as film:
            comment = film.metadata.get("comment", "")
        return max(float(comment.removeprefix(_ALERT_AT)), 0.0)
    except (av.FFmpegError, OSError, ValueError):
        return None


def shrunk(image: Image, width_px: int) -> Image:
    """The picture at most `width_px` wide."""
    height, width = image.shape[:2]
    if width <= width_px:
        return image
    size = (width_px, max(2, round(height * width_px / width)))
    small: Image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return small


def blurred(image: Image, face: Box | None) -> Image:
    """The picture with the face beyond recognition; all of it where no face box is known."""
    height, width = image.shape[:2]
    x1, y1, x2, y2 = 0, 0, width, height
    if face is not None:
        more_x, more_y = face.width_px * MARGIN, face.height_px * MARGIN
        x1, x2 = max(0, int(face.x1 - more_x)), min(width, int(face.x2 + more_x) + 1)
        y1, y2 = max(0, int(face.y1 - more_y)), min(height, int(face.y2 + more_y) + 1)
    if x2 <= x1 or y2 <= y1:
        return image
    out = image.copy()
    blots = cv2.resize(out[y1:y2, x1:x2], (BLUR_SHARE, BLUR_SHARE), interpolation=cv2.INTER_AREA)
    out[y1:y2, x1:x2] = cv2.resize(blots, (x2 - x1, y2 - y1), interpolation=cv2.INTER_LINEAR)
    return out


def jpeg(image: Image) -> bytes:
    """The picture as JPEG."""
    return bytes(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 85])[1])


def _decoded(picture: bytes) -> Image:
    image: Image = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)
    return image
