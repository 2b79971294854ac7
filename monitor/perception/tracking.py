"""Which of the faces is the driver's: by zone, by continuity, by size, in this order.

The driver's place outlasts the driver's face. While a head is down or out of the picture for some
seconds, a passenger beside it is not taken for the driver: that would turn sleep into open eyes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from monitor.types import Box

# Unseen for so long, a driver may come back to the usual place instead of the last one.
HOME_AFTER_S = 0.5


@dataclass
class _Bystander:
    box: Box
    seen_s: float


@dataclass
class _Place:
    """Where the driver was seen last, and usually is."""

    last: Box
    home: Box
    seen_s: float

    def away(self, face: Box) -> float:
        """Distance of a face from the nearer of the two, in face sizes."""
        return min(_apart(face, self.last), _apart(face, self.home))


@dataclass
class DriverTrack:
    """Remembers where the driver is and chooses among the faces of a picture.

    Thresholds are proposals, in seconds and in face sizes (the longer side of a face's box).

    Attributes:
        zone: where a driver's face may be: x1, y1, x2, y2 as shares of the picture.
        memory_s: how long a vanished driver's place is kept against unknown faces.
        bystander_s: how long it is kept against those seen beside the driver.
        reach, reach_per_s: how far from its last place a face is still the same one at once and
            at most, and how it grows while unseen.
        home_reach: how far from the driver's usual place a returning face may turn up.
        home_time_s: time constant of the usual place.
        rival_s, rival_size: a face so many times larger for so long is the driver after all, for
            a watch that began while the driver's head was down.
    """

    zone: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)
    memory_s: float = 10.0
    bystander_s: float = 60.0
    reach: tuple[float, float] = (0.6, 1.5)
    reach_per_s: float = 2.0
    home_reach: float = 1.25
    home_time_s: float = 5.0
    rival_s: float = 5.0
    rival_size: float = 1.5
    _place: _Place | None = None
    _rival_since_s: float | None = None
    _bystanders: list[_Bystander] = field(default_factory=list)

    def confirm(self, face: Box, timestamp_s: float) -> None:
        """The driver's face is here now."""
        place = self._place
        if place is None:
            self._place = _Place(face, face, timestamp_s)
            return
        share = 1 - math.exp(-max(timestamp_s - place.seen_s, 0.0) / self.home_time_s)
        self._place = _Place(face, _between(place.home, face, share), timestamp_s)

    def choose(
        self, faces: Sequence[Box], timestamp_s: float, size_px: tuple[int, int]
    ) -> int | None:
        """Index of the driver's face among `faces`, or None if it is not among them.

        The chosen face is confirmed; the others are remembered as bystanders.

        Args:
            faces: boxes of all faces found in the picture.
            timestamp_s: when.
            size_px: (width, height) of the picture.
        """
        inside = [i for i, face in enumerate(faces) if self._in_zone(face, size_px)]
        chosen = self._choose(faces, inside, timestamp_s)
        if self._outgrown(faces, inside, chosen, timestamp_s):
            chosen = max(inside, key=lambda i: faces[i].height_px)
            self._place, self._bystanders = None, []
        self._remember(faces, chosen, timestamp_s)
        if chosen is not None:
            self.confirm(faces[chosen], timestamp_s)
        return chosen

    def _choose(self, faces: Sequence[Box], inside: list[int], timestamp_s: float) -> int | None:
        place = self._place
        if place is not None:
            same = [i for i in inside if self._is_driver(faces[i], place, timestamp_s)]
            if same:
                return min(same, key=lambda i: place.away(faces[i]))
            gone_s = timestamp_s - place.seen_s
            inside = [i for i in inside if gone_s >= self._kept_s(faces[i])]
        return max(inside, key=lambda i: faces[i].height_px, default=None)

    def _is_driver(self, face: Box, place: _Place, timestamp_s: float) -> bool:
        unseen_s = max(timestamp_s - place.seen_s, 0.0)
        at_once, at_most = self.reach
        reach = min(at_once + self.reach_per_s * unseen_s, at_most)
        near = _alike(face, place.last) and _apart(face, place.last) <= reach
        # While the face is followed, whatever turns up in the usual place is something else.
        if unseen_s > HOME_AFTER_S and _alike(face, place.home):
            near = near or _apart(face, place.home) <= self.home_reach
        neighbour = min((_apart(face, other.box) for other in self._bystanders), default=math.inf)
        return near and place.away(face) <= neighbour

    def _kept_s(self, face: Box) -> float:
        """How long the driver's place is kept against this face."""
        return self.bystander_s if self._bystander_at(face) else self.memory_s

    def _outgrown(
        self, faces: Sequence[Box], inside: list[int], chosen: int | None, timestamp_s: float
    ) -> bool:
        """A much larger face has been beside the chosen one for long enough."""
        largest = max((faces[i].height_px for i in inside), default=0.0)
        if chosen is None or largest < self.rival_size * faces[chosen].height_px:
            self._rival_since_s = None
            return False
        if self._rival_since_s is None:
            self._rival_since_s = timestamp_s
        return timestamp_s - self._rival_since_s >= self.rival_s

    def _remember(self, faces: Sequence[Box], chosen: int | None, timestamp_s: float) -> None:
        driver = faces[chosen] if chosen is not None else None
        for index, face in enumerate(faces):
            # The same head may be boxed twice; it is no bystander of itself.
            if index == chosen or (driver is not None and face.iou(driver) > 0.3):
                continue
            bystander = self._bystander_at(face)
            if bystander is not None:
                bystander.box, bystander.seen_s = face, timestamp_s
            elif driver is not None:
                self._bystanders.append(_Bystander(face, timestamp_s))
        self._bystanders = [
            other for other in self._bystanders if timestamp_s - other.seen_s < self.bystander_s
        ]

    def _bystander_at(self, face: Box) -> _Bystander | None:
        near = [b for b in self._bystanders if _apart(face, b.box) <= 1.0 and _alike(face, b.box)]
        return min(near, key=lambda b: _apart(face, b.box), default=None)

    def _in_zone(self, face: Box, size_px: tuple[int, int]) -> bool:
        x, y = face.centre
        left, top, right, bottom = self.zone
        width, height = size_px
        return left <= x / width <= right and top <= y / height <= bottom


def _size(face: Box) -> float:
    return max(face.width_px, face.height_px, 1.0)


def _apart(face: Box, other: Box) -> float:
    """Distance of two faces' centres in sizes of the second."""
    return math.dist(face.centre, other.centre) / _size(other)


def _alike(face: Box, other: Box) -> bool:
    """Sizes near enough to be one head: detector and mesh box it differently."""
    return 0.5 <= _size(face) / _size(other) <= 2.0


def _between(a: Box, b: Box, share: float) -> Box:
    return Box(
        a.x1 + (b.x1 - a.x1) * share,
        a.y1 + (b.y1 - a.y1) * share,
        a.x2 + (b.x2 - a.x2) * share,
        a.y2 + (b.y2 - a.y2) * share,
    )
