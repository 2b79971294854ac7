"""The detector's network is the published one, whichever head it bears."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.architectures.yolov5 import count_parameters, yolov5
from models.checkpoint import load_tensors, transfer
from models.legacy_yolov5 import from_legacy, read_legacy
from tests.support.paths import SHARED

LEGACY = SHARED / "weights" / "v5n_coco_legacy.pt"
needs_shared = pytest.mark.skipif(not LEGACY.is_file(), reason=f"needs {LEGACY.name} of ../shared")

# ultralytics/yolov5 v6.0, re-derived from its yaml graph: size, classes, unfused, fused
PUBLISHED = [
    ("n", 2, 1_766_623, 1_761_871),
    ("n", 7, 1_773_388, 1_768_636),
    ("s", 2, 7_025_023, 7_015_519),
    ("s", 7, 7_038_508, 7_029_004),
    ("s", 80, 7_235_389, 7_225_885),
    ("m", 2, 20_875_359, 20_856_975),
    ("l", 7, 46_170_604, 46_140_588),
    ("l", 80, 46_563_709, 46_533_693),
]


def labels(count: int) -> Any:
    return tuple(f"class {index}" for index in range(count))


@pytest.mark.parametrize(("size", "classes", "unfused", "fused"), PUBLISHED)
def test_it_has_exactly_the_published_parameters(
    size: Any, classes: int, unfused: int, fused: int
) -> None:
    with torch.device("meta"):
        network = yolov5(labels(classes), size, anchors=True)
    assert count_parameters(network) == unfused
    if size in {"n", "s"}:
        assert count_parameters(yolov5(labels(classes), size, anchors=True).fuse()) == fused


@pytest.mark.parametrize("anchors", [True, False])
def test_fusing_changes_no_output(anchors: bool) -> None:
    torch.manual_seed(0)
    network = yolov5(labels(3), "n", anchors).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    picture = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        before = network(picture)
        after = network.fuse()(picture)
    torch.testing.assert_close(before, after, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("anchors", [True, False])
def test_every_parameter_learns(anchors: bool) -> None:
    network = yolov5(labels(3), "n", anchors).train()
    network(torch.rand(2, 3, 64, 64)).sum().backward()
    idle = [
        name
        for name, parameter in network.named_parameters()
        if parameter.requires_grad and parameter.grad is None
    ]
    assert idle == []


@pytest.mark.parametrize(("anchors", "shape"), [(True, (1, 504, 8)), (False, (1, 7, 168))])
def test_the_output_has_a_row_a_cell(anchors: bool, shape: tuple[int, ...]) -> None:
    assert yolov5(labels(3), "n", anchors).eval()(torch.rand(1, 3, 64, 128)).shape == shape


def test_the_anchor_free_head_is_that_of_ultralytics() -> None:
    from models.ultralytics_safe import ultralytics

    ultralytics()
    from ultralytics.nn.tasks import DetectionModel

    torch.manual_seed(0)
    theirs = DetectionModel("yolov5n.yaml", nc=3, ch=3, verbose=False).eval()
    ours = yolov5(labels(3), "n").eval()
    load_tensors(ours, theirs.state_dict())
    picture = torch.rand(1, 3, 96, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours(picture), theirs(picture)[0], rtol=1e-4, atol=1e-3)


def test_tensors_of_another_network_are_refused_in_one_line() -> None:
    network = yolov5(labels(3), "n")
    with pytest.raises(ValueError, match="another size or other classes"):
        load_tensors(network, yolov5(labels(2), "n").state_dict())
    with pytest.raises(ValueError, match=r"model\.24\.\S+ is missing from|does not belong"):
        load_tensors(network, yolov5(labels(3), "n", anchors=True).state_dict())


def test_a_transfer_takes_what_fits_and_leaves_the_rest() -> None:
    start, network = yolov5(labels(80), "n"), yolov5(labels(3), "n")
    taken = transfer(network, start.state_dict())
    assert torch.equal(network.model[0].conv.weight, start.model[0].conv.weight)
    assert 0 < taken < len(network.state_dict())


@pytest.mark.shared
@needs_shared
def test_its_head_says_what_the_original_code_says() -> None:
    golden = json.loads((SHARED / "golden" / "yolov5n_coco_head.json").read_text())
    expected = golden["random_320x320"]
    picture = np.random.default_rng(7).random((1, 3, 320, 320)).astype(np.float32)
    with torch.no_grad():
        found = from_legacy(LEGACY).fuse()(torch.from_numpy(picture))
    assert list(found.shape) == expected["shape"]
    for row, values in expected["rows"].items():
        np.testing.assert_allclose(found[0, int(row), :8].numpy(), values, rtol=1e-3, atol=2e-3)
    assert float(found.double().sum()) == pytest.approx(expected["sum"], rel=1e-6)


@pytest.mark.shared
@needs_shared
def test_a_legacy_checkpoint_gives_all_its_tensors_and_names() -> None:
    checkpoint = read_legacy(LEGACY)
    assert len(checkpoint.tensors) == 349
    assert checkpoint.labels[:2] == ("person", "bicycle")
    assert len(checkpoint.labels) == 80


def test_a_hostile_checkpoint_is_not_run(tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self) -> Any:
            return (Path(tmp_path / "ran").write_text, ("yes",))

    path = tmp_path / "best.pt"
    torch.save({"model": Hostile()}, path)
    with pytest.raises(ValueError, match="no part of a YOLOv5 network; nothing was loaded"):
        read_legacy(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 half a zip"])
def test_a_damaged_checkpoint_is_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "best.pt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"best\.pt: ") as caught:
        read_legacy(path)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_without_a_network_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "best.pt"
    torch.save({"model": torch.zeros(3)}, path)
    with pytest.raises(ValueError, match="no pickled YOLOv5 network"):
        read_legacy(path)
