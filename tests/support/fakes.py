"""One fake for every seam, shared by the tests. Each part is small and stands alone."""

# --- sources of frames -----------------------------------------------------------------------

import queue
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import cv2
import numpy as np

from monitor.camera.source import Source
from monitor.errors import SourceError
from monitor.perception.expression import Framing
from monitor.perception.face import HEAD_MODEL, HEAD_POINTS, Points, Region
from monitor.types import Box, Detection, Emotion, EyeProbabilities, Frame, Image


class FakeSource(Source):
    """Gives the frames it was made with."""

    def __init__(self, frames: Iterable[Frame], *, live: bool = False) -> None:
        self._frames = list(frames)
        self.camera = self._frames[0].camera if self._frames else "driver"
        self.live = live
        self.closed = False

    def __iter__(self) -> Iterator[Frame]:
        for frame in self._frames:
            if self.closed:
                return
            yield frame

    def close(self) -> None:
        self.closed = True


class FakeCamera:
    """A camera on a cable: plug it, show it pictures, pull it out.

    `open` is what a live source calls; it fails while the camera is unplugged.
    """

    def __init__(self, *, plugged: bool = True) -> None:
        self.tries = 0
        self.opened = threading.Semaphore(0)
        self.failed = threading.Semaphore(0)
        self.closed = threading.Semaphore(0)
        self._plugged = plugged
        self._pictures: queue.Queue[Image | None] = queue.Queue()

    def open(self) -> "FakeCamera":
        self.tries += 1
        if not self._plugged:
            self.failed.release()
            raise SourceError("fake camera: unplugged")
        self.opened.release()
        return self

    def plug(self) -> None:
        self._plugged = True

    def unplug(self) -> None:
        self._plugged = False
        self._pictures.put(None)

    def show(self, *pictures: Image) -> None:
        for picture in pictures:
            self._pictures.put(picture)

    def read(self) -> Image | None:
        picture = self._pictures.get()
        self._pictures.task_done()
        return picture

    def wait_until_read(self) -> None:
        """Every picture shown so far was taken from the queue."""
        self._pictures.join()

    def close(self) -> None:
        self.closed.release()


class MjpegServer:
    """A real HTTP camera on loopback: pictures as multipart JPEG, for as long as it lives."""

    def __init__(self, port: int = 0) -> None:
        self._gone = threading.Event()
        self._connections: list[socket.socket] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server._connections.append(self.connection)
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                number = 0
                while not server._gone.wait(0.02):
                    number += 1
                    try:
                        self.wfile.write(_part(number))
                    except OSError:
                        return

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its own name
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._http.daemon_threads = True
        self.port: int = self._http.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/camera.mjpg"
        self._thread = threading.Thread(
            target=self._http.serve_forever, args=(0.02,), daemon=True, name="mjpeg"
        )
        self._thread.start()

    def kill(self) -> None:
        self._gone.set()
        self._http.shutdown()
        for connection in self._connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        self._http.server_close()
        self._thread.join()


def _part(number: int) -> bytes:
    picture = np.random.default_rng(number).integers(40, 200, (48, 64, 3), np.uint8)
    jpeg = cv2.imencode(".jpg", picture)[1].tobytes()
    head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
    return head.encode() + jpeg + b"\r\n"


# --- the fleet's inbox ------------------------------------------------------------------------


class FakeInbox:
    """`monitor.fleet.ingest.ingester.Inbox` without a network: give it arrivals, see what it was
    told."""

    def __init__(self, arrivals: Iterable[Any] = ()) -> None:
        self.dropped = 0
        self.refusal: str | None = None
        self.connected = True
        self.given = list(arrivals)
        self.confirmed: list[Any] = []
        self.acknowledged: dict[str, list[str]] = {}
        self.steps: list[str] = []

    @property
    def waiting(self) -> int:
        return len(self.given)

    def start(self) -> None:
        self.steps.append("start")

    def gather(self, wait_s: float) -> list[Any]:
        found, self.given = self.given, []
        return found

    def confirm(self, arrivals: Iterable[Any]) -> None:
        self.confirmed.extend(arrivals)

    def acknowledge(self, ids: dict[str, list[str]]) -> None:
        for vehicle, stored in ids.items():
            self.acknowledged.setdefault(vehicle, []).extend(stored)

    def leave(self) -> None:
        self.steps.append("leave")

    def close(self) -> None:
        self.steps.append("close")


# --- what perception looks with --------------------------------------------------------------


def a_mesh(box: Box, opening: float = 0.3) -> Points:
    """Landmarks (478, 3) that fill `box`, upright and frontal, lids open by `opening` (an EAR)."""
    x, y = box.centre
    points = np.zeros((478, 3), np.float32)
    points[:, :2] = x, y
    points[:4, :2] = [[box.x1, y], [box.x2, y], [x, box.y1], [x, box.y2]]
    skull = HEAD_MODEL[:, :2] * box.width_px / 18 + (x, y - box.height_px / 10)
    points[list(HEAD_POINTS), :2] = skull
    for outer, up, inner, low, iris in (
        (33, (160, 159, 158), 133, (144, 145, 153), 468),
        (263, (387, 386, 385), 362, (373, 374, 380), 473),
    ):
        a, b = points[outer, :2].copy(), points[inner, :2].copy()
        width = float(np.hypot(*(b - a)))
        for share, top, bottom in zip((0.25, 0.5, 0.75), up, low, strict=True):
            points[top, :2] = a + (b - a) * share + (0, -0.6 * opening * width)
            points[bottom, :2] = a + (b - a) * share + (0, 0.4 * opening * width)
        points[iris, :2] = (a + b) / 2
    points[[78, 308], :2] = [[x - 30, y + 40], [x + 30, y + 40]]
    for upper, lower, dx in ((81, 178, -10), (13, 14, 0), (311, 402, 10)):
        points[upper, :2], points[lower, :2] = (x + dx, y + 39), (x + dx, y + 41)
    return points


class FakeLandmarker:
    """Fits a mesh on whichever of its faces the region holds; raises when told to."""

    def __init__(self, *faces: Box, opening: float = 0.3) -> None:
        self.faces = list(faces)
        self.opening = opening
        self.error: Exception | None = None
        self.looks = 0

    def __call__(self, image: Image, region: Region) -> Points | None:
        self.looks += 1
        if self.error is not None:
            raise self.error
        half = region.side_px / 2
        for face in self.faces:
            x, y = face.centre
            if abs(x - region.x_px) < half * 0.5 and abs(y - region.y_px) < half * 0.5:
                return a_mesh(face, self.opening)
        return None


class FakeFinder:
    """Finds the faces it was given; raises when told to."""

    def __init__(self, *faces: Box) -> None:
        self.faces = list(faces)
        self.error: Exception | None = None
        self.looks = 0

    def __call__(self, image: Image) -> list[Box]:
        self.looks += 1
        if self.error is not None:
            raise self.error
        return list(self.faces)


class FakeDetector:
    """The awake/sleep detector: sees the faces it was given, one word for all."""

    def __init__(self, *faces: Box, sleep: float = 0.1) -> None:
        self.faces = list(faces)
        self.sleep = sleep
        self.error: Exception | None = None
        self.near: list[Box | None] = []

    def __call__(self, image: Image, near: Box | None = None) -> list[Detection]:
        self.near.append(near)
        if self.error is not None:
            raise self.error
        seen = [face for face in self.faces if near is None or face.iou(near) > 0.3]
        return [Detection(face, awake=1 - self.sleep, sleep=self.sleep) for face in seen]

    def start(self, image: Image, near: Box) -> Callable[[], list[Detection]]:
        return lambda: self(image, near)


class FakeEyes:
    """The eye-state net: one answer, left and right."""

    def __init__(
        self, left: EyeProbabilities | None, right: EyeProbabilities | None = None
    ) -> None:
        self.eyes = (left, right)
        self.error: Exception | None = None

    def __call__(
        self, image: Image, landmarks: Points
    ) -> tuple[EyeProbabilities | None, EyeProbabilities | None]:
        if self.error is not None:
            raise self.error
        return self.eyes


class FakeEmotionNet:
    """The expression net: answers in turn, the last for ever; notes the crops it was given."""

    framing = Framing()
    at_once = 1

    def __init__(self, *labels: str, among: tuple[str, ...] = ("neutral", "happiness")) -> None:
        self.labels = list(labels)
        self.among = among
        self.error: Exception | None = None
        self.crops: list[Image] = []
        self.began = threading.Semaphore(0)
        self.looked = threading.Semaphore(0)
        self.go = threading.Event()
        self.go.set()

    def __call__(self, crop: Image) -> Emotion:
        self.began.release()
        self.go.wait(10)
        self.crops.append(crop)
        try:
            if self.error is not None:
                raise self.error
            label = self.labels.pop(0) if len(self.labels) > 1 else self.labels[0]
            return Emotion(label, 1.0, tuple((name, float(name == label)) for name in self.among))
        finally:
            self.looked.release()
