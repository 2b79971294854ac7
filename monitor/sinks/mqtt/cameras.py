"""What each camera last made out, and what of it is to be told now.

One camera's state is the vehicle's. Of several, each camera's is told on a topic of its own, and
the vehicle's is that of the camera with the most urgent news.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from monitor.protocol.camera_status import StatusFilter
from monitor.protocol.schemas import CameraStatus
from monitor.types import Command, DriverState, Frame

COMMANDS_KEPT = 32
# A state that came too early to be told is told this late at the latest, newer frames or not.
PATIENCE_S = 0.2


class Pace:
    """When a state is to be told: at once when the level changes, else every so often.

    Args:
        every_s: seconds from one state to the next.
    """

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._told: DriverState | None = None
        self.next_s = 0.0

    def anew(self) -> None:
        """Nobody was told anything yet."""
        self._told, self.next_s = None, 0.0

    def due(self, state: DriverState | None, now_s: float) -> bool:
        """Tell this state now."""
        if state is None or state is self._told:
            return False
        same = self._told is not None and self._told.level is state.level
        return not same or now_s >= self.next_s

    def tell(self, state: DriverState, now_s: float) -> None:
        """This state was told."""
        # Counted from when it was due, so that the rate holds at any camera's.
        behind = now_s - self.next_s >= self._every_s
        self._told, self.next_s = state, (now_s if behind else self.next_s) + self._every_s

    def wait_s(self, state: DriverState | None, now_s: float) -> float | None:
        """How long until it is told, newer ones or not; None when it was told."""
        if state is None or state is self._told:
            return None
        return 0.0 if self.next_s == 0 else max(self.next_s - now_s, 0.0) + PATIENCE_S


@dataclass
class Camera:
    """One camera: its last state, and what of it is still to be published."""

    pace: Pace
    status: StatusFilter = field(default_factory=StatusFilter)
    state: DriverState | None = None
    status_due: bool = False
    commands: deque[Command] = field(default_factory=lambda: deque(maxlen=COMMANDS_KEPT))


class Cameras:
    """All cameras of a vehicle. Frames come from their loops' threads, the rest asks from one.

    Args:
        names: as configured; the first is what a vehicle without news tells of.
        state_hz: states a second, of each camera and of the vehicle.
    """

    def __init__(self, names: Iterable[str], state_hz: float) -> None:
        self._every_s = 1.0 / state_hz
        self._cameras = {name: Camera(Pace(self._every_s)) for name in names}
        self._vehicle = Pace(self._every_s)

    @property
    def several(self) -> bool:
        """Each camera's state is told apart as well."""
        return len(self._cameras) > 1

    def see(self, frame: Frame, state: DriverState, now_s: float) -> bool:
        """Take a camera's newest state; True if there is something to tell now."""
        camera = self._cameras.setdefault(frame.camera, Camera(Pace(self._every_s)))
        changed = camera.state is None or camera.state.level is not state.level
        camera.state = state
        if camera.status.update(frame.condition, state) is not None:
            camera.status_due = changed = True
        # The frame that is due wakes who tells it: what is told is never a frame old.
        paces = (self._vehicle, camera.pace) if self.several else (self._vehicle,)
        return changed or any(now_s >= pace.next_s for pace in paces)

    def command(self, command: Command, camera: str | None = None) -> None:
        """Leave a command for one camera's loop, or for all.

        Raises:
            ValueError: no such camera.
        """
        if camera is not None and camera not in self._cameras:
            raise ValueError(f"no camera {camera!r}; there are {', '.join(self._cameras)}")
        for name, one in self._cameras.items():
            if camera in (None, name):
                one.commands.append(command)

    def take_commands(self, camera: str) -> list[Command]:
        """What was asked of one camera's loop since the last call."""
        waiting = self._cameras[camera].commands
        return [waiting.popleft() for _ in range(len(waiting))]

    def greet(self) -> None:
        """A new connection: whatever is retained is told again."""
        self._vehicle.anew()
        for camera in self._cameras.values():
            camera.status_due = camera.status.status is not None
            camera.pace.anew()

    def statuses(self) -> Iterator[tuple[str, CameraStatus]]:
        """What is to be told of the cameras themselves; each is taken as told."""
        for name, camera in self._cameras.items():
            if camera.status_due and camera.status.status is not None:
                camera.status_due = False
                yield name, camera.status.status

    def states(self, now_s: float) -> Iterator[tuple[str, DriverState, bool]]:
        """Camera, its state, and whether it is told as the vehicle's; each is taken as told."""
        for name, state, pace in self._paced():
            if state is not None and pace.due(state, now_s):
                pace.tell(state, now_s)
                yield name, state, pace is self._vehicle

    def wait_s(self, now_s: float) -> float | None:
        """How long until there is a state to tell though no frame comes; None if there is none."""
        waits = [pace.wait_s(state, now_s) for _, state, pace in self._paced()]
        return min((wait for wait in waits if wait is not None), default=None)

    def _paced(self) -> Iterator[tuple[str, DriverState | None, Pace]]:
        # A copy: a loop's first frame may add its camera meanwhile.
        cameras = list(self._cameras.items())
        name, urgent = max(cameras, key=lambda c: c[1].state.level if c[1].state else -1)
        yield name, urgent.state, self._vehicle
        if self.several:
            yield from ((name, camera.state, camera.pace) for name, camera in cameras)
