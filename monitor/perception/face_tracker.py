"""Following the driver's face from frame to frame: who, where, and its landmarks.

Once landmarks are found, the next picture is searched where they were. The detector judges that
face from close by, a few times a second and wherever lids or head have moved; over the whole
picture it looks while the face is lost, and once a second to count faces. Without a detector
MediaPipe's own detection does.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from monitor.perception.face import (
    Points,
    Region,
    box_of_landmarks,
    lid_gaps,
    region_of_landmarks,
    regions_of_box,
)
from monitor.perception.stages import Stages
from monitor.perception.tracking import DriverTrack
from monitor.types import Box, Detection, Image


class Detector(Protocol):
    """The awake/sleep detector: faces with the scores of their classes."""

    def __call__(self, image: Image, near: Box | None = None) -> list[Detection]:
        """Faces in an (H, W, 3) BGR picture, boxes in its pixels.

        Args:
            image: the whole picture.
            near: a face known to be here is to be judged; nothing else is asked for.
        """

    def start(self, image: Image, near: Box) -> Callable[[], list[Detection]]:
        """Begin to judge the face known to be near, and return at once; the answer waits."""


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
        judged: waits for the detector's word on this face, the last one if nothing has moved since;
            to be called once, last of all, before the next frame.
        faces: how many faces there are, the passengers' too.
        others: boxes of everything found on this frame, for drawing.
    """

    box: Box | None = None
    landmarks: Points | None = None
    judged: Callable[[], Detection | None] = lambda: None
    faces: int = 0
    others: tuple[Box, ...] = ()


# The whole picture is looked over this often while the driver's face is followed.
COUNT_EVERY_S = 1.0
# The detector's boxes of training are this share of the mesh's (146 pictures, median 0.8); boxes
# are of the mesh's size here, so that both are one face.
DETECTOR_SHARE = 0.8
# A picture after a longer pause is searched anew: heads move.
TRACK_GAP_S = 1.0
# Capture times are sums of fractions: this near is due.
_TICK_S = 1e-4


class Follower:
    """Finds the driver's face on each frame with as little looking as will do.

    Args:
        track: who the driver is.
        landmarker: fits the mesh.
        finder: finds faces without a detector.
        detector: the trained detector, or None.
        detector_hz: how often a second the detector judges a face that does not move.
        stages: guards what may break.
    """

    def __init__(
        self,
        track: DriverTrack,
        landmarker: LandmarkNet,
        finder: FaceFinder,
        detector: Detector | None,
        detector_hz: float,
        stages: Stages,
    ) -> None:
        self._track = track
        self._landmarker = landmarker
        self._finder = finder
        self._detector = detector
        self._judge_every_s = 1 / detector_hz
        self._stages = stages
        self._fit: Fit | None = None
        self._judgement: Judgement | None = None
        self._counted_s = float("-inf")
        self._seen_s = float("-inf")
        self._faces = 0

    def __call__(self, image: Image, timestamp_s: float) -> Sighting:
        """Look at the next frame."""
        before = self._fit if timestamp_s - self._seen_s <= TRACK_GAP_S else None
        fit = self._fitted(image, before.region) if before is not None else None
        if fit is not None:
            self._track.confirm(fit.box, timestamp_s)
        boxes, chosen = self._overview(image, timestamp_s, lost=fit is None)
        if chosen is not None and (fit is None or not _same(fit.box, chosen)):
            fit = self._acquired(image, chosen)
        box = fit.box if fit is not None else chosen
        if box is not None:
            self._faces = max(self._faces, 1)
        self._fit, self._seen_s = fit, timestamp_s
        points = fit.points if fit is not None else None
        judged = self._judging(image, box, points, timestamp_s)
        return Sighting(box, points, judged, self._faces, tuple(boxes))

    def _acquired(self, image: Image, box: Box) -> "Fit | None":
        """Landmarks from a box alone: a first fit, then a second where the first one says."""
        fits = (self._fitted(image, region) for region in regions_of_box(box))
        rough = next((fit for fit in fits if fit is not None), None)
        if rough is None:
            return None
        fine = self._fitted(image, rough.region)
        # The mesh may have slipped onto a neighbour's face.
        return fine if fine is not None and _same(fine.box, box) else None

    def _fitted(self, image: Image, region: Region) -> "Fit | None":
        points = self._stages.run("landmarks", None, self._landmarker, image, region)
        return None if points is None else Fit(points, box_of_landmarks(points))

    def _overview(
        self, image: Image, timestamp_s: float, *, lost: bool
    ) -> tuple[list[Box], Box | None]:
        """Every face of the picture and which is the driver's, if it is time to look."""
        if not lost and timestamp_s - self._counted_s < COUNT_EVERY_S:
            return [], None
        self._counted_s = timestamp_s
        boxes = self._faces_in(image)
        self._faces = len(boxes)
        height, width = image.shape[:2]
        index = self._track.choose(boxes, timestamp_s, (width, height))
        return boxes, None if index is None else boxes[index]

    def _faces_in(self, image: Image) -> list[Box]:
        if self._detector is not None:
            seen = self._stages.run("detector", [], self._detector, image)
            if seen:
                return [_scaled(detection.box, 1 / DETECTOR_SHARE) for detection in seen]
        return self._stages.run("finder", [], self._finder, image)

    def _judging(
        self, image: Image, box: Box | None, points: Points | None, timestamp_s: float
    ) -> Callable[[], Detection | None]:
        """Let the detector begin on the driver's face, or take its last word where that holds."""
        last = self._judgement
        if self._detector is None or box is None:
            self._judgement = None
            return lambda: None
        if last is not None and last.holds(box, points, timestamp_s, self._judge_every_s):
            return lambda: last.detection
        near = _scaled(box, DETECTOR_SHARE)
        # Whoever needs only the mesh goes on meanwhile.
        begun = self._stages.run("detector", None, self._detector.start, image, near)

        def judged() -> Detection | None:
            seen: list[Detection] = []
            if begun is not None:
                seen = self._stages.run("detector", [], begun)
            best = max(seen, key=lambda d: d.box.iou(box), default=None)
            failed = "detector" in self._stages.failed
            self._judgement = None if failed else Judgement(best, box, points, timestamp_s)
            return best

        return judged


# Of the face's height: the mesh trembles by less on a still picture, a lid's way is some 0.05.
LIDS_MOVED, HEAD_MOVED = 0.008, 0.04
# However much a head moves, the detector's word on the same face holds for so long while its lids
# stay as they are.
MOVING_S = 1 / 15


@dataclass(frozen=True, slots=True)
class Judgement:
    """The detector's word, and the face that it was on.

    Attributes:
        detection: None where it saw no face there.
        box: of the face.
        points: its mesh, where it fitted.
        timestamp_s: when.
    """

    detection: Detection | None
    box: Box
    points: Points | None
    timestamp_s: float

    def holds(self, box: Box, points: Points | None, timestamp_s: float, at_most_s: float) -> bool:
        """It was given just now, or not long ago on a face that has not moved since."""
        since_s = timestamp_s - self.timestamp_s
        if points is None or self.points is None or not 0 <= since_s < at_most_s - _TICK_S:
            return False
        height_px = max(box.height_px, 1.0)
        lids = np.abs(lid_gaps(points) - lid_gaps(self.points)).max() / height_px
        if lids > LIDS_MOVED:
            return False
        if since_s < MOVING_S - _TICK_S:
            return _same(box, self.box)
        moved = np.abs(points[:, :2] - self.points[:, :2]).max() / height_px
        return bool(moved <= HEAD_MOVED)


@dataclass(frozen=True, slots=True)
class Fit:
    """A mesh that fits, and its box."""

    points: Points
    box: Box

    @property
    def region(self) -> Region:
        """Where to look on the next picture."""
        return region_of_landmarks(self.points, self.box)


def _same(box: Box, other: Box) -> bool:
    """One head, however it is boxed."""
    return box.iou(other) >= 0.1


def _scaled(box: Box, share: float) -> Box:
    (x, y), half_w, half_h = box.centre, box.width_px * share / 2, box.height_px * share / 2
    return Box(x - half_w, y - half_h, x + half_w, y + half_h)
