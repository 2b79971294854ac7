"""The weights that ship: small, whole, what their cards say, and read as ultralytics reads them."""

import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.inference import boxes
from models.registry import WEIGHTS, find, shipped
from models.synthesis import astronaut
from models.synthesis.face_warp import close_eyes
from models.synthesis.scenes import Actor, actor_of, compose
from models.training.detector_runs import open_network
from models.training.eye_state_runs import Face, open_eyes, probability

DETECTOR, EYES = WEIGHTS / "awake_sleep_n.safetensors", WEIGHTS / "eye_state.safetensors"


@pytest.fixture(scope="module")
def portrait() -> Actor:
    actor = actor_of(np.ascontiguousarray(astronaut()[:256, 96:352]), "awake")
    assert actor is not None
    return actor


def shut(portrait: Actor) -> Actor:
    return Actor(close_eyes(portrait.image, portrait.landmarks, 1.0), portrait.landmarks, "sleep")


@pytest.mark.parametrize(("path", "limit"), [(DETECTOR, 6_000_000), (EYES, 500_000)])
def test_weights_are_small_and_those_of_their_card(path: Path, limit: int) -> None:
    content = path.read_bytes()
    card = find(path.stem)
    assert len(content) <= limit
    assert card.sha256 == sha256(content).hexdigest()
    assert card.training_data
    assert card.licence


def test_the_watch_finds_them() -> None:
    assert [card.name for card in shipped("detection")] == ["awake_sleep_n"]
    assert [card.name for card in shipped("eyes")] == ["eye_state"]


def test_what_the_frame_loop_needs_imports_no_torch() -> None:
    code = (
        "import sys; import models.inference.boxes, models.inference.eye_crops; "
        "heavy = {'torch', 'ultralytics'} & set(sys.modules); sys.exit(1 if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=WEIGHTS.parent.parent, check=False)
    assert done.returncode == 0


def test_fifty_pictures_are_read_as_ultralytics_reads_them(portrait: Actor) -> None:
    import torch

    from models.checkpoint import read_tensors
    from models.ultralytics_safe import ultralytics

    ultralytics()
    from ultralytics.data.augment import LetterBox
    from ultralytics.nn.tasks import DetectionModel
    from ultralytics.utils.nms import non_max_suppression
    from ultralytics.utils.ops import scale_boxes

    theirs = DetectionModel("yolov5n.yaml", nc=3, ch=3, verbose=False).eval()
    tensors = {name: value.float() for name, value in read_tensors(DETECTOR).items()}
    theirs.load_state_dict(tensors, strict=False)
    shipped = open_network("shipped")
    rng, found = np.random.default_rng(0), 0
    for _ in range(50):
        size = (int(rng.integers(96, 400)), int(rng.integers(96, 500)))
        image = compose([portrait], size, rng, (0.25, 0.7)).image
        planes = boxes.to_input(np.asarray(LetterBox((192, 192), auto=False)(image=image)))
        with torch.no_grad():
            raw = theirs(torch.from_numpy(planes))[0]
        kept = non_max_suppression(raw, 0.25, boxes.IOU_THRESHOLD, agnostic=True, nc=3)[0]
        expected = scale_boxes((192, 192), kept[:, :4].clone(), image.shape).numpy()
        faces = boxes.look(shipped.network, image, (192, 192), len(shipped.labels), 0.25)
        assert len(faces.xyxy) == len(expected)
        np.testing.assert_allclose(faces.xyxy, expected, atol=1.0)
        np.testing.assert_allclose(faces.scores.max(1), kept[:, 4].numpy(), atol=0.01)
        found += len(expected)
    assert found > 37


def sleep_share(faces: boxes.FaceBoxes) -> float:
    awake, sleep, _ = faces.scores[boxes.prominent(faces)[0]]
    return float(sleep / (awake + sleep))


@pytest.mark.parametrize("size", [(480, 640), (720, 1280)])
def test_the_detector_tells_closed_eyes_from_open_ones(
    portrait: Actor, size: tuple[int, int]
) -> None:
    shipped = open_network("shipped")
    shares: dict[str, list[float]] = {"awake": [], "sleep": []}
    for seed in range(6):
        for actor in (portrait, shut(portrait)):
            scene = compose([actor], size, np.random.default_rng(seed), (0.3, 0.5))
            faces = boxes.find_faces(shipped.network, scene.image, shipped.labels, 0.05)
            assert boxes.overlaps(scene.boxes[0], faces.xyxy).max() > 0.5
            shares[actor.label].append(sleep_share(faces))
    assert np.median(shares["awake"]) < 0.5 < np.median(shares["sleep"])


def test_the_eye_network_tells_closed_eyes_from_open_ones(portrait: Actor) -> None:
    network = open_eyes(EYES)

    def closed(actor: Actor) -> float:
        return probability(network, Face(actor.image, actor.landmarks, False, "eileen"))

    assert closed(portrait) < 0.3
    assert closed(shut(portrait)) > 0.7


def test_the_eye_network_follows_the_lids(portrait: Actor) -> None:
    network = open_eyes(EYES)

    def closed(amount: float) -> float:
        image: Any = close_eyes(portrait.image, portrait.landmarks, amount)
        return probability(network, Face(image, portrait.landmarks, False, "eileen"))

    assert closed(0.2) < closed(0.7) + 0.05 < closed(1.0) + 0.1
