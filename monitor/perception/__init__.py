"""A frame in, an observation out: detector, landmarks, eye state, expression, picture quality.

>>> perceive = open_perception(config.perception, camera, live=True)
>>> observation = perceive(frame)

Every part arrives through a seam and may break: its name then stands in the observation's
`errors` and the rest still holds. What is not seen is `None`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, Self, TypedDict

import cv2

from monitor.config import CameraConfig, PerceptionConfig
from monitor.perception import face
from monitor.perception.expression import ExpressionReader, Framing, cut
from monitor.perception.face import Points
from monitor.perception.face_tracker import (
    FaceFinder,
    Follower,
    LandmarkNet,
    Sighting,
)
from monitor.perception.facemesh import Landmarker, MediaPipeFaceFinder
from monitor.perception.orientation import SURELY_OPEN, Orientation
from monitor.perception.rest import Rest
from monitor.perception.stages import Stages
from monitor.perception.tracking import DriverTrack
from monitor.types import (
    Box,
    CameraCondition,
    Emotion,
    EyeProbabilities,
    Frame,
    HeadPose,
    Image,
    Observation,
    Quality,
)

if TYPE_CHECKING:
    from monitor.perception.networks import Parts


# Left and right.
EyePair = tuple[EyeProbabilities | None, EyeProbabilities | None]


class EyeNet(Protocol):
    """Judges the eyes by their pixels."""

    def __call__(self, image: Image, landmarks: Points) -> EyePair:
        """Left and right eye of the face as the picture shows it; None for one too small."""


@dataclass(frozen=True, slots=True)
class Overlay:
    """What was seen on the last frame, for drawing: an observation carries no points.

    Attributes:
        face: the driver's face box.
        landmarks: (478, 3) pixels.
        others: boxes of every face found on that frame.
    """

    face: Box | None = None
    landmarks: Points | None = None
    others: tuple[Box, ...] = ()


class FaceMeasures(TypedDict, total=False):
    """Geometry of the driver's face, as the observation names it; empty without a mesh."""

    ear_left: float | None
    ear_right: float | None
    mar: float | None
    gaze_down: float | None
    lower_lid: float | None
    pose: HeadPose | None


class Perception:
    """Looks at frames of one camera, one after another.

    Args:
        config: how to look.
        camera: where the driver sits, and whether the picture is mirrored.
        parts: the networks. Without a detector faces are left to MediaPipe, without an eye-state
            network the eyes to their aspect ratio; without an expression network none is read.
        landmarker: fits the face mesh; None opens MediaPipe's.
        finder: finds faces without a detector; None opens MediaPipe's.
        live: expressions are read when the net is free; otherwise in step with the frames.

    Attributes:
        overlay: what was seen on the last frame.
        models: ids of the models that look, as written on every event.
    """

    def __init__(
        self,
        config: PerceptionConfig,
        camera: CameraConfig,
        parts: "Parts",
        *,
        landmarker: LandmarkNet | None = None,
        finder: FaceFinder | None = None,
        live: bool = False,
    ) -> None:
        self._mirrored = camera.mirrored
        self._eyes = parts.eyes
        self._stages = Stages()
        landmarker, finder = landmarker or Landmarker(), finder or MediaPipeFaceFinder()
        self._parts = (landmarker, finder, parts.detector, parts.eyes, parts.emotion)
        self._follow = Follower(
            DriverTrack(zone=camera.drivers_zone),
            landmarker,
            finder,
            parts.detector,
            config.detector_hz,
            self._stages,
        )
        self._orientation = Orientation(parts.detector, finder, self._stages, camera.id)
        self._expression = (
            ExpressionReader(parts.emotion, config.emotion_hz, live=live) if parts.emotion else None
        )
        self._rest = Rest(config.still_hz)
        self.overlay = Overlay()
        self.models = parts.models

    def __call__(self, frame: Frame) -> Observation:
        """Measure what can be measured on `frame`; never raises for what a picture holds."""
        self._stages.begin(frame.timestamp_s)
        image = frame.image
        if image is None or image.size == 0:
            self.overlay = Overlay()
            self._orientation.forget()
            self._rest.forget()
            return _observation(frame)
        still = self._rest.still(frame, image)
        if still is not None:
            return self._again(still, frame)
        if self._orientation.look(image, frame.timestamp_s):
            self.overlay = Overlay()
            self._rest.forget()
            return self._turned(frame, image)
        return self._looked(frame, image)

    def _again(self, still: Observation, frame: Frame) -> Observation:
        """The last look's measures on a frame that shows the same."""
        reader = self._expression
        return replace(
            still,
            timestamp_s=frame.timestamp_s,
            captured_at=frame.captured_at,
            index=frame.index,
            skipped=frame.skipped,
            emotion=reader.latest(frame.timestamp_s) if reader is not None else None,
        )

    def _looked(self, frame: Frame, image: Image) -> Observation:
        sighting = self._follow(image, frame.timestamp_s)
        self.overlay = Overlay(sighting.box, sighting.landmarks, sighting.others)
        eyes = self._eye_states(image, sighting)
        if sighting.landmarks is not None:
            self._orientation.seen(frame.timestamp_s, eyes_open=_surely_open(eyes))
        measures = self._stages.run(
            "measures", FaceMeasures(), self._measures, sighting, image, eyes
        )
        observation = replace(
            _observation(frame),
            size_px=(image.shape[1], image.shape[0]),
            face=sighting.box,
            faces=sighting.faces,
            **measures,
            eye_left=eyes[0],
            eye_right=eyes[1],
            emotion=self._emotion(image, sighting, frame.timestamp_s),
            quality=self._stages.run("quality", None, quality_of, image, sighting.box),
            detection=sighting.judged(),  # has been at work beside all the others
            errors=self._stages.failed,
        )
        self._rest.looked(observation, image, sighting.landmarks)
        return observation

    def _turned(self, frame: Frame, image: Image) -> Observation:
        """A face that lies or hangs is not measured: whatever came of it would be wrong."""
        fine = frame.condition is CameraCondition.OK
        condition = CameraCondition.TURNED if fine else frame.condition
        return replace(
            _observation(frame),
            condition=condition,
            size_px=(image.shape[1], image.shape[0]),
            quality=self._stages.run("quality", None, quality_of, image, None),
            errors=self._stages.failed,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the expression's threads and let go of the nets."""
        if self._expression is not None:
            self._expression.close()
        for part in self._parts:
            close = getattr(part, "close", None)
            if close is not None:
                close()

    def _measures(self, sighting: Sighting, image: Image, eyes: EyePair) -> FaceMeasures:
        points = sighting.landmarks
        if points is None:
            return {}
        left, right = (face.eye_aspect_ratio(points, side) for side in ("left", "right"))
        if self._mirrored:
            left, right = right, left
        size_px, sides = (image.shape[1], image.shape[0]), self._seen_sides(eyes)
        return {
            "ear_left": left,
            "ear_right": right,
            "mar": face.mouth_aspect_ratio(points),
            # One iris alone, beside one that is guessed, tells too little.
            "gaze_down": face.gaze_lowering(points) if len(sides) == 2 else None,
            "lower_lid": face.lower_lid(points, sides),
            "pose": face.head_pose(points, size_px, mirrored=self._mirrored),
        }

    def _seen_sides(self, eyes: EyePair) -> Sequence[face.Side]:
        """Both eyes of the mesh, or the one that is seen: of a hidden one it only guesses."""
        pair = eyes[::-1] if self._mirrored else eyes
        seen = [
            side for side, eye in zip(face.BOTH, pair, strict=True) if eye is None or not eye.hidden
        ]
        return seen or face.BOTH

    def _eye_states(self, image: Image, sighting: Sighting) -> EyePair:
        if self._eyes is None or sighting.landmarks is None:
            return None, None
        unseen: EyePair = (None, None)
        left, right = self._stages.run("eyes", unseen, self._eyes, image, sighting.landmarks)
        return (right, left) if self._mirrored else (left, right)

    def _emotion(self, image: Image, sighting: Sighting, timestamp_s: float) -> Emotion | None:
        reader = self._expression
        if reader is None:
            return None
        box, points = sighting.box, sighting.landmarks
        if box is not None and points is not None:
            self._stages.run("emotion", None, reader.look, image, box, timestamp_s, points)
        return reader.latest(timestamp_s)


def _surely_open(eyes: EyePair) -> bool:
    return all(eye is not None and eye.open > SURELY_OPEN for eye in eyes)


# Sharpness is measured on a face of this size, so that it does not depend on the distance.
_QUALITY_SIZE = (96, 96)


def quality_of(image: Image, box: Box | None) -> Quality:
    """Light, contrast and sharpness of the face, or light and contrast of the picture without one.

    Args:
        image: (H, W, 3) BGR.
        box: the driver's face, or None.
    """
    crop = cut(image, Framing().square(box)) if box is not None else image
    if min(crop.shape[:2]) < 2:
        box, crop = None, image
    # Nearest pixels suffice for the light of a whole picture; a face is averaged down.
    if box is None:
        small = cv2.resize(crop, _QUALITY_SIZE, interpolation=cv2.INTER_NEAREST)
        grey = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY)
    else:
        grey = cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY)
        grey = cv2.resize(grey, _QUALITY_SIZE, interpolation=cv2.INTER_AREA)
    mean, deviation = (float(value[0, 0]) for value in cv2.meanStdDev(grey))
    if box is None:
        return Quality(mean, deviation)
    edges = cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_32F))[1]
    return Quality(mean, deviation, float(edges[0, 0]) ** 2, box.height_px)


def _observation(frame: Frame) -> Observation:
    """Of a frame on which nothing was measured."""
    return Observation(
        timestamp_s=frame.timestamp_s,
        captured_at=frame.captured_at,
        index=frame.index,
        camera=frame.camera,
        condition=frame.condition,
        skipped=frame.skipped,
    )


def open_perception(
    config: PerceptionConfig,
    camera: CameraConfig,
    *,
    live: bool = False,
    parts: "Parts | None" = None,
) -> Perception:
    """Build the real parts the configuration asks for.

    Args:
        config: which models, where they run.
        camera: whose frames will be looked at.
        live: the frames come from a live source.
        parts: opened for several cameras that share them; None opens this camera's own.

    Raises:
        ConfigError: a model is not registered, or its weights are not what its card says.
    """
    from monitor.perception.networks import open_parts  # noqa: PLC0415 - inference runtimes load when needed

    return Perception(config, camera, parts or open_parts(config), live=live)
