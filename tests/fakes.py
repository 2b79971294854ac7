"""One fake for every seam, shared by the tests. Each part is small and stands alone."""

# --- sources of frames -----------------------------------------------------------------------

import queue
import socket
import threading
from collections.abc import Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import cv2
import numpy as np

from monitor.errors import SourceError
from monitor.source import Source
from monitor.types import Frame, Image


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


class FakeInbox:
    """`monitor.ingest.Inbox` without a network: give it arrivals, see what it was told."""

    def __init__(self, arrivals: "Iterable[Arrival]" = ()) -> None:
        self.dropped = 0
        self.refusal: str | None = None
        self.connected = True
        self.given: list[Arrival] = list(arrivals)
        self.confirmed: list[Arrival] = []
        self.acknowledged: dict[str, list[str]] = {}
        self.steps: list[str] = []

    @property
    def waiting(self) -> int:
        return len(self.given)

    def start(self) -> None:
        self.steps.append("start")

    def gather(self, wait_s: float) -> "list[Arrival]":
        found, self.given = self.given, []
        return found

    def confirm(self, arrivals: "Sequence[Arrival]") -> None:
        self.confirmed.extend(arrivals)

    def acknowledge(self, ids: "Mapping[str, Sequence[str]]") -> None:
        for vehicle, stored in ids.items():
            self.acknowledged.setdefault(vehicle, []).extend(stored)

    def leave(self) -> None:
        self.steps.append("leave")

    def close(self) -> None:
        self.steps.append("close")
