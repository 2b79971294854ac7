"""The landmark network out of an OpenVINO graph: every tensor in its place, points on faces."""

import warnings
from pathlib import Path

import numpy as np
import openvino
import pytest
import torch
from skimage.data import astronaut
from torch import Tensor, nn

from models.architectures.backbones import MobileFaceNet
from models.architectures.poster_v2 import poster_v2
from models.checkpoint import ForeignCheckpointError, load_weights
from models.data import resize
from models.data.landmarks import LEFT_EYE, RIGHT_EYE, find_landmarks
from models.evaluation.prediction import normalise
from models.openvino_ir import lift
from models.registry import MODELS, RAF_LABELS
from tests.support.paths import SHARED

GRAPH = SHARED / "weights" / "mobilefacenet.xml"
JAW = 17  # the outline of the jaw is where two kinds of landmarks agree least


class ToPoints(nn.Module):
    """A MobileFaceNet as its authors export it: picture in, 136 numbers out."""

    def __init__(self, network: MobileFaceNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network.landmarks(self.network(x)[2]).flatten(1)


def small(seed: int = 0, depth: int = 1) -> MobileFaceNet:
    """A narrow MobileFaceNet with batch norms that have seen something."""
    torch.manual_seed(seed)
    network = MobileFaceNet(8, (8, 12, 12), (depth, 1, 1), top=16, input_px=32)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return network.eval()


def exported(network: MobileFaceNet, folder: Path) -> Path:
    path = folder / "graph.xml"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing warns of its own age
        torch.onnx.export(
            ToPoints(network).eval(), (torch.zeros(1, 3, 32, 32),), str(path.with_suffix(".onnx")),
            dynamo=False,
        )  # fmt: skip
    graph = openvino.convert_model(path.with_suffix(".onnx"))
    openvino.save_model(graph, path, compress_to_fp16=False)
    return path


@torch.inference_mode()
def test_a_graph_gives_the_network_back_that_it_was_made_from(tmp_path: Path) -> None:
    donor, ours = small(0), small(1)
    assert load_weights(ours, exported(donor, tmp_path)).prefix == ""
    pictures = torch.rand(2, 3, 32, 32)
    before = donor.conv1(pictures)
    after = ours.conv1(normalise(pictures, MODELS["poster_v2"]))
    # padding is black in one and the mean colour in the other: the rim alone may differ
    torch.testing.assert_close(after[..., 1:, 1:], before[..., 1:, 1:], atol=1e-4, rtol=1e-4)
    donor.conv1 = ours.conv1 = nn.Identity()  # type: ignore[assignment]
    torch.testing.assert_close(ToPoints(ours)(before), ToPoints(donor)(before), atol=1e-3, rtol=0)


def test_a_graph_of_another_network_is_refused_at_its_first_other_layer(tmp_path: Path) -> None:
    path = exported(small(depth=2), tmp_path)
    with pytest.raises(ForeignCheckpointError, match=r"graph\.xml: conv_34\.conv\.conv: the graph"):
        load_weights(small(depth=1), path)
    with pytest.raises(ForeignCheckpointError, match="which this model has not"):
        load_weights(nn.Linear(2, 2), path)
    path.with_suffix(".bin").unlink()
    with pytest.raises(ForeignCheckpointError, match="not a readable OpenVINO graph") as caught:
        load_weights(small(depth=2), path)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.shared
@pytest.mark.skipif(not GRAPH.is_file(), reason="needs ../shared/weights")
@torch.inference_mode()
def test_poster_v2s_landmark_branch_finds_68_landmarks_on_a_picture() -> None:
    """Within 8 % of the distance of the eyes of MediaPipe's, whose points mean nearly the same."""
    model = poster_v2(RAF_LABELS).eval()
    assert load_weights(model, GRAPH).prefix == "landmark"
    face = resize(np.ascontiguousarray(astronaut()[60:200, 150:290]), (112, 112))
    picture = torch.from_numpy(face).permute(2, 0, 1)[None].float() / 255
    _, maps = model.maps(normalise(picture, MODELS["poster_v2"]))
    points = model.landmark.landmarks(maps[2])[0].numpy()  # type: ignore[operator]
    judge = next(find_landmarks([face]))
    eyes = np.linalg.norm(judge[RIGHT_EYE].mean(0) - judge[LEFT_EYE].mean(0))
    error = np.linalg.norm(points[JAW:] - judge[JAW:], axis=1).mean() / eyes
    assert error < 0.08
    assert len(lift(model.landmark, GRAPH)) > 200
