"""What `wakeful bench` races: every contestant in a process of its own, a block of frames a time.

    naive            the card's packages as anyone would first put them together
    naive-threads    the same with torch told of all cores
    poster-every     ours, with the full POSTER V2 on every frame
    poster-fifth     ours, with the full POSTER V2 on every fifth frame
    shipped          ours, as it ships

`python -m monitor.bench.contestants NAME FRAMES.npy` reads one JSON command a line and answers with
one.
Apart, they cannot disturb each other's threads, and memory and start-up are each one's own.
"""

import json
import os
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import numpy as np
import psutil

from models.inference.cache import cache_folder
from monitor.bench.figures import CamerasTurn, ContestantStart, ContestantTurn
from monitor.types import Box, Detection, Emotion, Frame, Image

if TYPE_CHECKING:
    from monitor.perception.expression import EmotionNet
    from monitor.perception.face_tracker import Detector

FPS = 30.0
NAMES = ("naive", "naive-threads", "poster-every", "poster-fifth", "shipped")

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")
Stages = dict[str, list[float]]


def timed(
    name: str, work: Callable[Arguments, Answer], notes: Stages
) -> Callable[Arguments, Answer]:
    """The same work, which notes under a name how long each call takes, in ms."""

    def timed_work(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Answer:
        began_s = time.perf_counter()
        try:
            return work(*args, **kwargs)
        finally:
            notes[name].append((time.perf_counter() - began_s) * 1000)

    return timed_work


class TimedDetector:
    """The detector, its looks timed; a close one until its answer was waited for."""

    def __init__(self, detector: "Detector", notes: Stages) -> None:
        self._start = detector.start
        self._notes = notes
        self._look = timed("detector", detector.__call__, notes)

    def __call__(self, image: Image, near: Box | None = None) -> list[Detection]:
        """As the detector's."""
        return self._look(image, near)

    def start(self, image: Image, near: Box) -> Callable[[], list[Detection]]:
        """As the detector's."""
        began_s = time.perf_counter()
        wait = self._start(image, near)

        def waited() -> list[Detection]:
            detections = wait()
            self._notes["detector (beside)"].append((time.perf_counter() - began_s) * 1000)
            return detections

        return waited


class TimedEmotionNet:
    """The expression network, its looks timed."""

    def __init__(self, network: "EmotionNet", notes: Stages) -> None:
        self.framing, self.at_once = network.framing, network.at_once
        self._look = timed("expression (beside)", network.__call__, notes)

    def __call__(self, crop: Image) -> Emotion:
        """As the network's."""
        return self._look(crop)


class Naive:
    """`YOLO().predict` at 640, FaceMesh on stills, eager POSTER V2: all on every frame.

    Weights are as initialised: they change no speed. A GPU that torch has is used, as anyone would.
    """

    def __init__(self, threads: int | None, notes: Stages) -> None:
        import mediapipe  # noqa: PLC0415 - each contestant imports what it needs and no more
        import torch  # noqa: PLC0415

        from models.network import build  # noqa: PLC0415
        from models.registry import find  # noqa: PLC0415
        from models.ultralytics_safe import ultralytics  # noqa: PLC0415

        card = find("poster_v2")
        self._torch = torch
        self._yolo = ultralytics().YOLO("yolov5n.yaml")
        self._mesh = mediapipe.solutions.face_mesh.FaceMesh(
            static_image_mode=True, refine_landmarks=True
        )
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._poster = build(card, None).to(self._device)
        self._mean, self._std = (
            torch.tensor(values, device=self._device).view(1, 3, 1, 1)
            for values in (card.mean, card.std)
        )
        self._detect = timed("detector", self._predict, notes)
        self._fit = timed("landmarks", self._landmarks, notes)
        self._read = timed("expression", self._emotion, notes)
        self._predict(np.zeros((480, 640, 3), np.uint8))
        if threads is not None:  # ultralytics' first prediction sets them for the whole process
            torch.set_num_threads(threads)

    def __call__(self, image: Image, index: int) -> None:
        """Everything on one frame."""
        del index
        self._detect(image)
        self._fit(image)
        self._read(image)

    def describe(self) -> list[str]:
        """What runs how."""
        threads = self._torch.get_num_threads()
        return [f"torch {self._torch.__version__} on {self._device}, {threads} thread(s), fp32"]

    def _predict(self, image: Image) -> None:
        self._yolo.predict(image, imgsz=640, verbose=False)

    def _landmarks(self, image: Image) -> None:
        import cv2  # noqa: PLC0415

        self._mesh.process(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))

    def _emotion(self, image: Image) -> None:
        import cv2  # noqa: PLC0415

        crop = cv2.resize(image[100:350, 220:470], (224, 224))[..., ::-1].copy()
        with self._torch.no_grad():
            x = self._torch.from_numpy(crop).to(self._device).permute(2, 0, 1)[None].float() / 255
            self._poster((x - self._mean) / self._std).cpu()


class Ours:
    """The watch's own perception."""

    def __init__(self, emotion: str | None, emotion_hz: float, notes: Stages) -> None:
        from monitor.config import CameraConfig, PerceptionConfig  # noqa: PLC0415
        from monitor.perception import Perception  # noqa: PLC0415
        from monitor.perception.facemesh import Landmarker, MediaPipeFaceFinder  # noqa: PLC0415
        from monitor.perception.networks import open_parts  # noqa: PLC0415

        config = PerceptionConfig(emotion=emotion or "auto", emotion_hz=emotion_hz)
        parts = open_parts(config)

        self._perceive = Perception(
            config,
            CameraConfig(),
            replace(
                parts,
                detector=TimedDetector(parts.detector, notes) if parts.detector else None,
                eyes=timed("eye state", parts.eyes, notes) if parts.eyes else None,
                emotion=TimedEmotionNet(parts.emotion, notes) if parts.emotion else None,
            ),
            landmarker=timed("landmarks", Landmarker(), notes),
            finder=timed("face finder", MediaPipeFaceFinder(), notes),
        )
        self._notes = notes
        self._how = [network.describe() for network in parts.networks]

    def __call__(self, image: Image, index: int) -> None:
        """Everything on one frame."""
        observation = self._perceive(Frame(image, index / FPS, 1e9 + index / FPS, index))
        if observation.errors:
            raise RuntimeError(f"stages failed: {', '.join(observation.errors)}")

    def describe(self) -> list[str]:
        """What runs how."""
        return self._how


def random_poster() -> Path:
    """Where the full POSTER V2 with weights as initialised is kept for measuring."""
    return cache_folder() / "bench" / "poster_v2_as_initialised.safetensors"


def prepare() -> None:
    """Make `random_poster` (needs torch, so it runs in a process of its own)."""
    import torch  # noqa: PLC0415

    from models.checkpoint import write_weights  # noqa: PLC0415
    from models.network import build  # noqa: PLC0415
    from models.registry import find  # noqa: PLC0415

    torch.manual_seed(0)
    path = random_poster()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_weights(build(find("poster_v2"), None), find("poster_v2"), path)


def make(name: str, notes: Stages) -> "Naive | Ours":
    """A contestant by its name."""
    match name:
        case "naive":
            return Naive(None, notes)
        case "naive-threads":
            return Naive(len(os.sched_getaffinity(0)), notes)
        case "poster-every":
            return Ours(str(random_poster()), FPS, notes)
        case "poster-fifth":
            return Ours(str(random_poster()), FPS / 5, notes)
        case "shipped":
            return Ours(None, 5.0, notes)
    raise ValueError(f"no contestant {name!r}; there are {', '.join(NAMES)}")


class Racer:
    """Runs a contestant over the frames, again and again, and answers commands."""

    def __init__(self, name: str, frames: Path) -> None:
        self._notes: Stages = defaultdict(list)
        self._frames = np.load(frames, mmap_mode="r")
        self._index = 0
        self._contestant = make(name, self._notes)
        self._contestant(np.asarray(self._frames[0]), 0)

    def ready(self) -> ContestantStart:
        """How it started: seconds from the birth of its process to the first result."""
        return {
            "start_s": time.time() - psutil.Process().create_time(),
            "memory_mb": memory_mb(),
            "torch": "torch" in sys.modules,
            "how": self._contestant.describe(),
        }

    def run(self, seconds: float) -> ContestantTurn:
        """Frames as fast as they go, for so long."""
        self._notes.clear()
        cpu_s, began_s = time.process_time(), time.perf_counter()
        took_ms = []
        last_s = began_s
        while last_s - began_s < seconds:
            self._index += 1
            self._contestant(np.asarray(self._frames[self._index % len(self._frames)]), self._index)
            now_s = time.perf_counter()
            took_ms.append((now_s - last_s) * 1000)
            last_s = now_s
        return {
            "ms": took_ms,
            "wall_s": last_s - began_s,
            "cpu_s": time.process_time() - cpu_s,
            "memory_mb": memory_mb(),
            "stages": dict(self._notes),
        }

    def cameras(self, number: int, seconds: float) -> CamerasTurn:
        """Several cameras at once in this process: as fast as they go, then at 30 fps."""
        from monitor.bench.rig import Rig  # noqa: PLC0415 - not for the naive

        rig = Rig(number, self._frames, FPS)
        answer: CamerasTurn = {
            "flat_out": rig.flat_out(seconds),
            "paced": rig.paced(seconds),
            "memory_mb": memory_mb(),
        }
        rig.close()
        return answer


def memory_mb() -> float:
    """Memory that this process alone holds; pages of files shared with others are not counted."""
    return float(psutil.Process().memory_full_info().uss) / 2**20


def main(name: str, frames: str) -> int:
    """Answer commands until there are no more."""
    # What libraries print must not come between the answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    racer = Racer(name, Path(frames))
    answers.write(json.dumps(racer.ready()) + "\n")
    for line in sys.stdin:
        command = json.loads(line)
        answer = getattr(racer, command.pop("do"))(**command)
        answers.write(json.dumps(answer) + "\n")
    return 0


if __name__ == "__main__":
    if sys.argv[1] == "prepare":
        prepare()
        raise SystemExit(0)
    raise SystemExit(main(*sys.argv[1:]))
