"""A drive as pictures: live frames, an mp4 with its ground truth, a contact sheet."""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from models.synthesis import Portrait
from models.synthesis.drive import Drive
from models.synthesis.face_warp import Image


def animate(portrait: Portrait, drive: Drive, fps: float = 30.0) -> Iterator[tuple[float, Image]]:
    """Times in seconds and pictures of a drive, from 0 up to its end.

    While the script says `frozen`, the very same picture comes again and again.
    """
    last: Image | None = None
    for index in range(frame_count(drive, fps)):
        t_s = index / fps
        state = drive.pose_at(t_s)
        if last is None or not state.frozen:
            last = portrait.render(state, t_s)
        yield t_s, last


def frame_count(drive: Drive, fps: float) -> int:
    """How many pictures `animate` gives."""
    return max(int(np.ceil(drive.duration_s * fps - 1e-9)), 1)


def write_mp4(path: Path, images: Iterable[Image], fps: float = 30.0, *, crf: int = 18) -> int:
    """Write H.264 that browsers play (libx264, yuv420p, index in front).

    Args:
        path: the file, replaced if there.
        images: (H, W, 3) uint8 BGR, all of one size; an odd last row or column is cut off.
        fps: pictures a second.
        crf: x264's quality, 0 lossless .. 51; 18 is visually lossless.

    Returns:
        Number of pictures written.

    Raises:
        OSError: the file cannot be written.
        ValueError: there is no picture.
    """
    written = 0
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": str(crf), "preset": "veryfast"}
        for image in images:
            height, width = image.shape[0] // 2 * 2, image.shape[1] // 2 * 2
            if not written:
                stream.width, stream.height = width, height
            frame = av.VideoFrame.from_ndarray(
                np.ascontiguousarray(image[:height, :width]), format="bgr24"
            )
            container.mux(stream.encode(frame))
            written += 1
        if not written:
            raise ValueError(f"{path}: no picture to write")
        container.mux(stream.encode())
    return written


def write_truth(path: Path, drive: Drive) -> None:
    """Write the ground truth of a drive as JSON."""
    path.write_text(drive.truth_json(), encoding="utf-8")


def contact_sheet(
    portrait: Portrait,
    drive: Drive,
    *,
    times_s: Iterable[float] | None = None,
    columns: int = 5,
    tile_px: int = 256,
) -> Image:
    """Small pictures of a drive with time and kind under each, (H, W, 3) uint8 BGR.

    Args:
        portrait, drive: whom and what.
        times_s: when; None for the middle of every scripted segment.
        columns: tiles in a row.
        tile_px: width of a tile.
    """
    if times_s is None:
        times_s = sorted({(s.start_s + s.end_s) / 2 for s in drive.segments if not s.spontaneous})
    tiles = [_tile(portrait, drive, t_s, tile_px) for t_s in times_s]
    columns = min(columns, len(tiles))
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % columns)
    rows = [np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)]
    return np.vstack(rows)


def _tile(portrait: Portrait, drive: Drive, t_s: float, tile_px: int) -> Image:
    image = portrait.render(drive.pose_at(t_s), t_s)
    height = round(tile_px * image.shape[0] / image.shape[1])
    small = cv2.resize(image, (tile_px, height), interpolation=cv2.INTER_AREA)
    kinds = [s.kind for s in drive.segments if s.start_s <= t_s < s.end_s and not s.spontaneous]
    strip = np.full((22, tile_px, 3), 24, np.uint8)
    text = f"{t_s:6.2f} s  {' + '.join(kinds)}"
    cv2.putText(
        strip, text, (6, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (235, 235, 235), 1, cv2.LINE_AA
    )
    return np.vstack([small, strip])
