"""MediaPipe for the watch: where faces are, and the mesh on one of them.

Both nets come in mediapipe 0.10.21's wheel, the last that carries its models: nothing is fetched.
"""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from models.inference.mediapipe_import import mediapipe
from models.inference.native_logs import native_stderr_silenced
from monitor.perception.face import Points, Region
from monitor.types import Box, Image

if TYPE_CHECKING:
    from mediapipe.framework.formats.landmark_pb2 import NormalizedLandmarkList
    from mediapipe.python import Packet


class Landmarker:
    """MediaPipe's face mesh with refined eyes, told where to look.

    It runs the wheel's own landmark graph on a given region of the whole picture, not `solutions`'
    FaceMesh: a small face fills the net's input, nothing is remembered from picture to picture (so
    a recording gives the same landmarks wherever it is begun), and who follows the face is
    `monitor.perception`'s decision. One instance serves one thread.
    """

    def __init__(self) -> None:
        with native_stderr_silenced():
            self._mesh = _Mesh()
            # The graph's first run prints notices of its own and allocates: do both now.
            self(np.zeros((96, 64, 3), np.uint8), Region(32, 48, 64))

    def __call__(self, image: Image, region: Region) -> Points | None:
        """Landmarks of the face in `region`, or None if there is no face in it.

        Args:
            image: (H, W, 3) BGR of any size.
            region: a square that may reach beyond the picture.

        Returns:
            (478, 3) float32 in pixels of the whole picture.
        """
        crop, left, top = _cut(image, region)
        if crop is None:
            return None
        rgb, scale = _to_rgb(crop, _MESH_ENOUGH_PX)
        points = self._mesh(
            rgb,
            (region.x_px - left) * scale,
            (region.y_px - top) * scale,
            region.side_px * scale,
            region.angle_rad,
        )
        if points is not None:
            points /= scale
            points += (left, top, 0)
        return points

    def close(self) -> None:
        """Let go of the graph and its threads."""
        self._mesh.close()


class MediaPipeFaceFinder:
    """MediaPipe's full-range face detection: boxes of all faces, for want of a trained detector."""

    def __init__(self, min_score: float = 0.5) -> None:
        with native_stderr_silenced():
            faces = mediapipe().solutions.face_detection
            self._net = faces.FaceDetection(min_detection_confidence=min_score, model_selection=1)
            self(np.zeros((96, 64, 3), np.uint8))

    def __call__(self, image: Image) -> list[Box]:
        """Boxes of the faces in an (H, W, 3) BGR picture, in its pixels."""
        height, width = image.shape[:2]
        rgb, _ = _to_rgb(image, _FINDER_ENOUGH_PX)
        detections = self._net.process(rgb).detections or []
        boxes = []
        for face in detections:
            share = face.location_data.relative_bounding_box
            x1, y1 = max(share.xmin, 0.0), max(share.ymin, 0.0)
            x2, y2 = min(share.xmin + share.width, 1.0), min(share.ymin + share.height, 1.0)
            if x2 > x1 and y2 > y1:
                boxes.append(Box(x1 * width, y1 * height, x2 * width, y2 * height))
        return boxes

    def close(self) -> None:
        """Let go of the graph and its threads."""
        self._net.close()


_GRAPH = """
input_stream: "image"
input_stream: "region"
input_side_packet: "with_attention"
output_stream: "landmarks"
node {
  calculator: "FaceLandmarkCpu"
  input_stream: "IMAGE:image"
  input_stream: "ROI:region"
  input_side_packet: "WITH_ATTENTION:with_attention"
  output_stream: "LANDMARKS:landmarks"
}
"""
# Both nets see 192 x 192 pixels: a picture several times finer is thinned first, with averaging.
_MESH_ENOUGH_PX = 576
_FINDER_ENOUGH_PX = 480


class _Mesh:
    """The graph itself. `solutions`' own wrapper costs a sixth more a picture in Python alone."""

    def __init__(self) -> None:
        self._mp = library = mediapipe()
        from mediapipe.framework.formats.rect_pb2 import NormalizedRect  # noqa: PLC0415 - after it
        from mediapipe.python._framework_bindings import resource_util  # noqa: PLC0415 - likewise

        self._rect = NormalizedRect
        resource_util.set_resource_dir(str(Path(library.__path__[0]).parent))
        self._packet: Any = None
        self._ticks = 0
        self._graph: Any = None
        self._open()

    def _open(self) -> None:
        self._graph = self._mp.CalculatorGraph(graph_config=_GRAPH)
        self._graph.observe_output_stream("landmarks", self._note, observe_timestamp_bounds=False)
        with_attention = self._mp.packet_creator.create_bool(True)
        self._graph.start_run({"with_attention": with_attention})

    def __call__(
        self, rgb: Image, x_px: float, y_px: float, side_px: float, angle_rad: float
    ) -> Points | None:
        """(478, 3) pixels of `rgb` (H, W, 3), which is contiguous."""
        height, width = rgb.shape[:2]
        rect = self._rect(
            x_center=x_px / width,
            y_center=y_px / height,
            width=side_px / width,
            height=side_px / height,
            rotation=angle_rad,
        )
        creator = self._mp.packet_creator
        picture = creator.create_image_frame(rgb, image_format=self._mp.ImageFormat.SRGB)
        self._packet, self._ticks = None, self._ticks + 1
        try:
            self._graph.add_packet_to_input_stream("image", picture.at(self._ticks))
            self._graph.add_packet_to_input_stream(
                "region", creator.create_proto(rect).at(self._ticks)
            )
            self._graph.wait_until_idle()
        except RuntimeError:
            self._open()  # a graph that failed once fails for ever
            raise
        if self._packet is None:
            return None
        landmarks = _as_array(self._mp.packet_getter.get_proto(self._packet))
        landmarks *= (width, height, width)
        return landmarks

    def close(self) -> None:
        # The graph holds `_note` and so this object, which Python's garbage collector cannot see:
        # with the last name of it go its threads and memory.
        graph, self._graph, self._packet = self._graph, None, None
        if graph is not None:
            graph.close()

    def _note(self, _: str, packet: "Packet") -> None:
        self._packet = packet


def _cut(image: Image, region: Region) -> tuple[Image | None, int, int]:
    """The part of the picture under the region (a view), and its upper left corner."""
    height, width = image.shape[:2]
    half = region.span_px / 2
    left, right = max(int(region.x_px - half), 0), min(math.ceil(region.x_px + half), width)
    top, bottom = max(int(region.y_px - half), 0), min(math.ceil(region.y_px + half), height)
    if right - left < 2 or bottom - top < 2:
        return None, 0, 0
    return image[top:bottom, left:right], left, top


def _to_rgb(crop: Image, enough_px: int) -> tuple[Image, float]:
    longest = max(crop.shape[:2])
    scale = 1.0
    if longest > 2 * enough_px:
        scale = enough_px / longest
        size = (max(round(crop.shape[1] * scale), 1), max(round(crop.shape[0] * scale), 1))
        crop = cv2.resize(crop, size, interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(crop, cv2.COLOR_BGR2RGB), scale


# A landmark on protobuf's wire: two bytes of header, then x, y, z as a tag byte and a float each.
_WIRE = np.dtype(
    {"names": ["x", "y", "z"], "formats": ["<f4"] * 3, "offsets": [3, 8, 13], "itemsize": 17}
)


def _as_array(landmarks: "NormalizedLandmarkList") -> Points:
    """(478, 3) of a NormalizedLandmarkList; its wire form is read at once where it is plain."""
    wire = landmarks.SerializeToString()
    if len(wire) == len(landmarks.landmark) * _WIRE.itemsize:
        raw = np.frombuffer(wire, _WIRE)
        return np.stack((raw["x"], raw["y"], raw["z"]), axis=1)
    return np.array([(p.x, p.y, p.z) for p in landmarks.landmark], np.float32)
