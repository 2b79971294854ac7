"""Video files and GIFs through FFmpeg: the right stream, upright, with square pixels, whole.

Whatever had to be assumed of a file, or is wrong with it, is one of the reader's `notices`.
"""

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np

from monitor.camera.presentation import PresentationTimes, Stamps, stamps_of
from monitor.camera.source import fitting_size, square_size
from monitor.errors import SourceError
from monitor.types import Image

# FFmpeg takes text for a terminal recording and lists for other files and addresses.
_NOT_RECORDINGS = frozenset({"tty", "concat", "hls", "dash", "sdp", "lavfi", "imf", "alias_pix"})
_MOST_BAD_PACKETS = 500
# Demuxers of pictures one after another; a file of one picture is a photo, of many raw MJPEG.
_PICTURE_FORMATS = ("image2", "_pipe")
# FFmpeg's AVFMT_NOTIMESTAMPS: a raw stream, whose times are its demuxer's guess.
_NO_TIMESTAMPS = 0x0080


class VideoReader:
    """A video file or GIF, at its own presentation times.

    Args:
        path: the file.
        fps: the rate of a file that holds no times; None takes what its codec says, else 25.
        pixel_aspect: width of a pixel over its height; None takes what the file says.

    Attributes:
        duration_s: length of the pictures where the file says it.
        notices: what was assumed and what is wrong, each in one line.

    Raises:
        SourceError: empty, not a video, a single photo, without an index, or no picture in it can
            be decoded.
    """

    def __init__(
        self, path: Path, fps: float | None = None, pixel_aspect: float | None = None
    ) -> None:
        self._path = path
        self._fps = fps
        self._aspect = pixel_aspect
        self.notices: list[str] = []
        self.duration_s: float | None = None
        if path.stat().st_size == 0:
            raise SourceError(f"{path}: is empty; give a video with pictures in it")
        with self._open() as container:
            stream = _film(container)
            pictures = container.format.name.endswith(_PICTURE_FORMATS)
            raw = pictures or bool(container.format.flags & _NO_TIMESTAMPS)
            self._stamps = stamps_of(container, stream, raw=raw, fps=fps)
            self.duration_s = _duration_s(container, stream, self._stamps)
        if pictures and self._stamps.packets < 2:
            raise SourceError(
                f"{path}: is a single picture, not a recording; give a video, or the folder that "
                "holds the pictures of a drive"
            )
        with self._open() as container:
            stream = _film(container)
            if next(self._decoded(container, stream), None) is None:
                raise SourceError(
                    f"{path}: no picture in it can be decoded ({stream.codec_context.name}); the "
                    "file is damaged or of a kind that FFmpeg cannot read"
                )
        self._note_assumptions()

    def pictures(self) -> Iterator[tuple[float, Image]]:
        """Every picture that can be decoded; a cut or damaged rest ends in a notice."""
        times = PresentationTimes(self._stamps)
        count, last_s, end_s = 0, 0.0, 0.0
        with self._open() as container:
            stream = _film(container)
            self._bad, self._longest_s = 0, 0.0
            for t_s, frame in times.given(self._decoded(container, stream)):
                yield t_s, _bgr(frame, stream, self._aspect)
                count, last_s = count + 1, t_s
            end_s = max(last_s + times.step_s, self._longest_s)
        self._note_faults(times)
        self._note_if_short(count, last_s, end_s, times.step_s)

    def _open(self) -> av.container.InputContainer:
        try:
            # Nothing but this file: a playlist must not open others, let alone addresses. Its name
            # may hold a colon, which is no protocol's.
            container = av.open(
                f"file:{self._path.absolute()}", options={"protocol_whitelist": "file"}
            )
        except (av.error.FFmpegError, ValueError, OSError) as error:
            why = getattr(error, "strerror", None) or str(error)
            raise SourceError(
                f"{self._path}: cannot be read as a video ({why}); give an mp4, mkv, avi or GIF "
                "that was written to its end"
            ) from None
        kind = set(container.format.name.split(","))
        if kind & _NOT_RECORDINGS or not _films(container):
            container.close()
            raise SourceError(f"{self._path}: holds no video; give an mp4, mkv, avi or GIF")
        return container

    def _decoded(
        self, container: av.container.InputContainer, stream: av.VideoStream
    ) -> Iterator[av.VideoFrame]:
        stream.thread_type = "AUTO"
        self._bad, self._longest_s = 0, 0.0
        # Sound is read past, not decoded: where it goes on, the file was written to its end.
        others = [s for s in container.streams if s.type in {"audio", "video"}]
        packets = container.demux(others)
        while self._bad < _MOST_BAD_PACKETS:
            try:
                packet = next(packets)
                if packet.stream is not stream:
                    self._longest_s = max(self._longest_s, _end_s(packet))
                    continue
                frames = packet.decode()
            except StopIteration:
                return
            except (av.error.FFmpegError, OSError):
                self._bad += 1
                continue
            yield from frames

    # --- what is to be said of it ------------------------------------------------------------

    def _note(self, text: str) -> None:
        notice = f"{self._path}: {text}"
        if notice not in self.notices:
            self.notices.append(notice)

    def _note_assumptions(self) -> None:
        with self._open() as container:
            films, film = _films(container), _film(container)
        if self._stamps.assumed is not None:
            self._note(self._stamps.assumed)
        if len(films) > 1:
            self._note(
                f"holds {len(films)} videos; the {film.width}x{film.height} one is played, give "
                "another as a file of its own"
            )

    def _note_faults(self, times: PresentationTimes) -> None:
        if self._bad:
            self._note(f"{self._bad} damaged pieces were skipped")
        for fault in times.faults:
            self._note(fault)

    def _note_if_short(self, count: int, last_s: float, end_s: float, step_s: float) -> None:
        if count == 1:
            self._note("holds a single picture: nothing can be watched in it")
        if self.duration_s is None or not count:
            return
        # Containers round to their ticks, and some count the last picture twice or not at all.
        slack_s = max(0.5, 2 * step_s, 0.01 * self.duration_s)
        if end_s < self.duration_s - slack_s:
            self._note(
                f"the file is cut short, it ends at {last_s:.2f} s of {self.duration_s:.2f} s"
            )


def _films(container: av.container.InputContainer) -> list[av.VideoStream]:
    """Video streams that are films: cover pictures and thumbnails are none."""
    covers = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails
    return [s for s in container.streams.video if not s.disposition & covers]


def _film(container: av.container.InputContainer) -> av.VideoStream:
    """The film to play: the one FFmpeg would play if it is one, else the largest."""
    films = _films(container)
    best = container.streams.best("video")
    if isinstance(best, av.VideoStream) and best in films:
        return best
    return max(films, key=lambda s: s.width * s.height)


def _end_s(packet: av.Packet) -> float:
    if packet.pts is None or packet.time_base is None:
        return 0.0
    start = packet.stream.start_time or 0
    return float((packet.pts + (packet.duration or 0) - start) * packet.time_base)


def _duration_s(
    container: av.container.InputContainer, stream: av.VideoStream, stamps: Stamps
) -> float | None:
    """Length of the pictures as the file says it; None where FFmpeg only estimates it."""
    if stamps.assumed is not None:
        return None
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    hours, _, rest = stream.metadata.get("DURATION", "").partition(":")
    minutes, _, seconds = rest.partition(":")
    try:
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    except ValueError:
        return container.duration / av.time_base if container.duration else None


def _bgr(frame: av.VideoFrame, stream: av.VideoStream, aspect: float | None) -> Image:
    """A decoded frame as BGR, with square pixels, no larger than needed, upright."""
    if aspect is None:
        aspect = float(stream.sample_aspect_ratio or 0) or 1.0
    width, height = fitting_size(*square_size(frame.width, frame.height, aspect))
    image = frame.reformat(width=width, height=height, format="bgr24").to_ndarray()
    turns = round(frame.rotation / 90) % 4  # as phones write it: degrees counter-clockwise
    if turns:
        image = np.rot90(image, turns)
    return np.ascontiguousarray(image)
