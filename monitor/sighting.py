"""Following the driver's face from frame to frame: who, where, and its landmarks.

Once landmarks are found, the next picture is searched where they were: nothing else need run.
The detector confirms on every frame or every n-th; without one, MediaPipe's own detection looks
over the whole picture while the face is lost, and once a second otherwise to count faces.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from monitor.face import Points, Region, box_of_landmarks, region_of_box, region_of_landmarks
from monitor.stages import Stages
from monitor.tracking import DriverTrack
from monitor.types import Box, Detection, Image


class Detector(Protocol):
    """The awake/sleep detector: every face with the scores of its classes."""

    def __call__(self, image: Image) -> list[Detection]:
        """Faces in an (H, W, 3) BGR picture, boxes in its pixels."""


class FaceFinder(Protocol):
    """Finds faces where no detector is loaded, or where it finds none."""

    def __call__(self, image: Image) -> list[Box]:
        """Boxes of the faces in an (H, W, 3) BGR picture, in its pixels."""


class LandmarkNet(Protocol):
    """Finds the 478 landmarks of one face."""

    def __call__(self, image: Image, region: Region) -> Points | None:
        """(478, 3) pixels of the whole picture, or None if no face is in the region."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """Where the driver's face is on one frame.

    Attributes:
        box: the driver's face; None if it was not found.
        landmarks: (478, 3) pixels; None where the mesh does not fit.
        detection: the detector's word on this face, if it looked at this frame.
        faces: how many faces there are, the passengers' too.
        others: boxes of everything found on this frame, for drawing.
    """

    box: Box | None = None
    landmarks: Points | None = None
    detection: Detection | None = None
    faces: int = 0
    others: tuple[Box, ...] = ()


# Faces are counted this often while the driver's is followed and no detector counts them.
COUNT_EVERY_S = 1.0
# A picture after a longer pause is searched anew: heads move.
TRACK_GAP_S = 1.0


class Follower:
    """Finds the driver's face on each frame with as little looking as will do.

    Args:
        track: who the driver is.
        landmarker: fits the mesh.
        finder: finds faces without a detector.
        detector: the trained detector, or None.
        every_n: the detector looks at every n-th frame while the mesh holds the face.
        stages: guards what may break.
    """

    def __init__(
        self,
        track: DriverTrack,
        landmarker: LandmarkNet,
        finder: FaceFinder,
        detector: Detector | None,
        every_n: int,
        stages: Stages,
    ) -> None:
        self._track = track
        self._landmarker = landmarker
        self._finder = finder
        self._detector = detector
        self._every_n = every_n
        self._stages = stages
        self._landmarks: Points | None = None
        self._frames_since_detection = every_n
        self._counted_s = float("-inf")
        self._seen_s = float("-inf")
        self._faces = 0

    def __call__(self, image: Image, timestamp_s: float) -> Sighting:
        """Look at the next frame."""
        landmarks = self._continued(image, timestamp_s)
        if landmarks is not None:
            self._track.confirm(box_of_landmarks(landmarks), timestamp_s)
        detections = self._detections(image, sure=landmarks is not None)
        boxes = [detection.box for detection in detections]
        if not boxes:
            boxes = self._found(image, timestamp_s, lost=landmarks is None)
        chosen = self._chosen(boxes, image, timestamp_s)
        if chosen is not None and not _same(landmarks, boxes[chosen]):
            landmarks = self._acquired(image, boxes[chosen])
        self._landmarks, self._seen_s = landmarks, timestamp_s
        return self._sighting(landmarks, detections, boxes, chosen)

    def _continued(self, image: Image, timestamp_s: float) -> Points | None:
        if self._landmarks is None or timestamp_s - self._seen_s > TRACK_GAP_S:
            return None
        return self._fit(image, region_of_landmarks(self._landmarks))

    def _acquired(self, image: Image, box: Box) -> Points | None:
        """Landmarks from a box alone: a first fit, then a second where the first one says."""
        rough = self._fit(image, region_of_box(box))
        if rough is None:
            return None
        fine = self._fit(image, region_of_landmarks(rough))
        # The mesh may have slipped onto a neighbour's face.
        return fine if _same(fine, box) else None

    def _fit(self, image: Image, region: Region) -> Points | None:
        return self._stages.run("landmarks", None, self._landmarker, image, region)

    def _detections(self, image: Image, *, sure: bool) -> Sequence[Detection]:
        if self._detector is None:
            return ()
        self._frames_since_detection += 1
        if sure and self._frames_since_detection < self._every_n:
            return ()
        self._frames_since_detection = 0
        return self._stages.run("detector", [], self._detector, image)

    def _found(self, image: Image, timestamp_s: float, *, lost: bool) -> list[Box]:
        due = self._detector is None and timestamp_s - self._counted_s >= COUNT_EVERY_S
        if not (lost or due):
            return []
        self._counted_s = timestamp_s
        return self._stages.run("finder", [], self._finder, image)

    def _chosen(self, boxes: list[Box], image: Image, timestamp_s: float) -> int | None:
        if not boxes:
            return None
        height, width = image.shape[:2]
        return self._track.choose(boxes, timestamp_s, (width, height))

    def _sighting(
        self,
        landmarks: Points | None,
        detections: Sequence[Detection],
        boxes: list[Box],
        chosen: int | None,
    ) -> Sighting:
        if boxes or landmarks is None:
            self._faces = len(boxes)
        box = boxes[chosen] if chosen is not None else None
        if landmarks is not None:
            box = box_of_landmarks(landmarks)
            self._faces = max(self._faces, 1)
        detection = detections[chosen] if detections and chosen is not None else None
        return Sighting(box, landmarks, detection, self._faces, tuple(boxes))


def _same(landmarks: Points | None, box: Box) -> bool:
    """The mesh lies on the face of this box."""
    return landmarks is not None and box_of_landmarks(landmarks).iou(box) >= 0.1
