"""Which way up the picture is, noticed from the faces in it.

The nets know upright faces. On one that hangs upside down they still find something: an open mouth
for an eye, lids that never open. So before anything is judged, the picture is shown to the
detectors in all four turns, and the one in which they see a face clearly best wins.

On 366 pictures of 25 people (the clips and labelled pictures of the tests, every 25th frame) a turn
that leads by `_LEAD` was right 275 times and wrong never; 91 times none led. Three more votes than
any other decide. Eyes that are both seen open vote, too: the mesh fits upside-down faces, but finds
their eyes in 6 of 1,872 such pictures only, and in half of the same ones held upright.
"""

from collections import Counter
from typing import Literal

import numpy as np
import structlog

from monitor.perception.face_tracker import Detector, FaceFinder
from monitor.perception.stages import Stages
from monitor.types import Image

log = structlog.get_logger(__name__)

Turn = Literal[0, 90, 180, 270]
TURNS: tuple[Turn, ...] = (0, 90, 180, 270)
# A face that MediaPipe's finder sees, too, is worth half a sure detection more.
_FINDER_WEIGHT = 0.5
_LEAST, _LEAD = 0.6, 0.3
_VOTES = 3
# The eye network's word for both eyes, to be a vote.
SURELY_OPEN = 0.8
# Looking in four turns takes as long as a few frames: often until it is decided, seldom later.
_SOON_S, EMPTY_S, _LATER_S = 0.25, 1.0, 2.0
# A camera that came loose: nobody has been seen upright for so long.
_LOST_S = 10.0


class Orientation:
    """Decides once a drive; again when the camera comes back or nobody has been seen for long.

    Args:
        detector: the awake/sleep detector; None leaves it to the finder.
        finder: finds faces without a detector.
        stages: guards what may break.
        camera: its id, for the log.

    Attributes:
        turn_deg: degrees clockwise that would set the picture upright; 0 until known otherwise.
    """

    def __init__(
        self, detector: Detector | None, finder: FaceFinder, stages: Stages, camera: str
    ) -> None:
        self._detector, self._finder = detector, finder
        self._stages, self._camera = stages, camera
        self.turn_deg: Turn = 0
        self._upright_known = False
        self._seen_s: float | None = None
        self.forget()

    def forget(self) -> None:
        """The camera was away: it may hang otherwise now."""
        self._votes: Counter[Turn] = Counter()
        self._settled = False
        self._next_s = self._next_open_s = float("-inf")

    def look(self, image: Image, timestamp_s: float) -> Turn:
        """The turn that would set this picture upright, 0 where it is or is not known to be not."""
        if self._settled and self.turn_deg == 0 and not self._lost_for_long(timestamp_s):
            return 0
        if timestamp_s >= self._next_s:
            self._vote(image, timestamp_s)
        return self.turn_deg

    def seen(self, timestamp_s: float, *, eyes_open: bool) -> None:
        """A face was followed on the picture as it is.

        Args:
            timestamp_s: of the frame.
            eyes_open: both eyes are seen, and surely open.
        """
        self._seen_s = timestamp_s
        if eyes_open and not self._settled and timestamp_s >= self._next_open_s:
            self._count(0)
            self._next_open_s = timestamp_s + _SOON_S

    def _lost_for_long(self, timestamp_s: float) -> bool:
        self._seen_s = timestamp_s if self._seen_s is None else self._seen_s
        if timestamp_s - self._seen_s < _LOST_S:
            return False
        self.forget()
        self._seen_s = timestamp_s
        return True

    def _vote(self, image: Image, timestamp_s: float) -> None:
        best = self._best(image)
        if best is None:
            self._next_s = timestamp_s + EMPTY_S
            return
        self._count(best)
        self._next_s = timestamp_s + (_LATER_S if self._settled else _SOON_S)

    def _count(self, vote: Turn) -> None:
        self._votes[vote] += 1
        (first, votes), *others = self._votes.most_common(2)
        lead = votes - (others[0][1] if others else 0)
        # One look of the detector is enough to judge nothing, three are needed to be sure; where
        # heads were seen upright, it is more likely the head that turned.
        one_is_enough = self._detector is not None and not self._upright_known
        sure = lead >= _VOTES
        self._turn(first if sure or (lead and one_is_enough) else 0)
        if sure:
            self._settled = True
            self._upright_known = self._upright_known or first == 0
            self._votes.clear()
            self._votes[first] = 1

    def _turn(self, turn_deg: Turn) -> None:
        if turn_deg != self.turn_deg and turn_deg:
            log.warning(
                "the picture is turned; nobody can be judged in it",
                camera=self._camera,
                cure=f"set cameras[].rotate to {turn_deg}, or turn the camera",
            )
        self.turn_deg = turn_deg

    def _best(self, image: Image) -> Turn | None:
        """The turn in which a face is clearly seen best."""
        scores = [self._score(np.ascontiguousarray(np.rot90(image, -t // 90)), t) for t in TURNS]
        second, first = sorted(scores)[-2:]
        if first < _LEAST or first - second < _LEAD:
            return None
        return TURNS[scores.index(first)]

    def _score(self, image: Image, turn_deg: Turn) -> float:
        if self._detector is None:
            return 2 * _LEAST * bool(self._stages.run("finder", [], self._finder, image))
        faces = self._stages.run("detector", [], self._detector, image)
        best = max(faces, key=lambda face: face.score, default=None)
        if best is None:
            return 0.0
        if turn_deg and self._upright_known and best.label == "sleep":
            return 0.0  # a sleeper who has sunk sideways is no turned camera
        boxes = self._stages.run("finder", [], self._finder, image)
        return best.score + _FINDER_WEIGHT * bool(boxes)
