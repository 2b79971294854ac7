"""The expression models' sizes, shapes and mathematics, held to the papers' own numbers."""

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from models.architectures.backbones import parameters
from models.architectures.cnn import plain_cnn, resnet18
from models.architectures.fdrl import FDRL, FDRLTerms, InterRelations
from models.architectures.poster import poster
from models.architectures.poster_v2 import FusionBlock, PosterV2, Streams, poster_v2, poster_v2_s
from models.data.augmentation import Batch
from models.registry import FER_PLUS_LABELS, RAF_LABELS
from models.training.objectives import LandmarkObjective, objective_for
from models.training.optimisation import cross_entropy


def operations(model: nn.Module, side: int) -> dict[str, float]:
    """Giga multiply-accumulates of one picture by kind of operation."""
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        model.eval()(torch.zeros(1, 3, side, side))
    return {
        str(operation).removeprefix("aten."): flops / 2e9
        for operation, flops in counter.get_flop_counts()["Global"].items()
    }


@pytest.fixture(scope="module")
def released() -> PosterV2:
    return poster_v2(RAF_LABELS)


def test_poster_v2_has_the_released_parameters(released: PosterV2) -> None:
    live = parameters(released)
    assert live == 43_849_957
    assert live + released.dead_parameters == 58_316_594
    assert parameters(released.landmark) == 1_007_248
    assert live - parameters(released, trainable=True) == 1_007_248  # frozen, as in the paper
    loose = [released.vit.cls_token, released.vit.pos_embed]
    loose += [block.to_image.bias_table for block in released.fusion]
    assert live - sum(p.numel() for p in loose) == 43_725_207  # the paper's 43.7 M


def test_poster_v2_costs_what_the_paper_says(released: PosterV2) -> None:
    kinds = operations(released, 224)
    attention = sum(v for k, v in kinds.items() if "bmm" in k)
    everything = sum(kinds.values())
    assert everything == pytest.approx(8.59, abs=0.005)
    assert everything - attention == pytest.approx(8.435, abs=0.005)


def test_poster_is_as_large_as_published() -> None:
    model = poster(RAF_LABELS)
    assert parameters(model) + model.dead_parameters == pytest.approx(71.8e6, rel=0.002)


def test_fdrl_has_the_papers_parameters_and_cost() -> None:
    model = FDRL(RAF_LABELS)
    assert parameters(model) == 12_065_607
    assert sum(operations(model, 224).values()) == pytest.approx(1.814, abs=0.002)


def test_the_small_ones_are_small_enough_to_ship() -> None:
    small, plain = poster_v2_s(FER_PLUS_LABELS), plain_cnn(FER_PLUS_LABELS)
    assert parameters(small) <= 6_000_000  # 12 MB in fp16
    assert parameters(plain) * 2 <= 6_000_000
    assert sum(operations(small, 48).values()) <= 0.15
    assert sum(operations(plain, 48).values()) <= 0.06


@pytest.mark.parametrize("windows", [(12, 6, 3), (6, 6, 3), (4, 3, 1)])
def test_a_window_size_changes_the_cost_not_the_shape(windows: tuple[int, int, int]) -> None:
    model = poster_v2_s(FER_PLUS_LABELS, windows=windows).eval()
    assert model(torch.rand(3, 3, 48, 48)).shape == (3, 8)


def test_attention_in_windows_grows_with_the_map_and_over_the_whole_map_with_its_square() -> None:
    def scores(side: int, window: int) -> float:
        block = FusionBlock(16, 2, window).eval()
        guide = torch.rand(1, 16, window, window)
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            block(torch.rand(1, 16, side, side), guide)
        return sum(v for k, v in counter.get_flop_counts()["Global"].items() if "bmm" in str(k))

    assert scores(16, 4) / scores(8, 4) == pytest.approx(4)
    assert scores(16, 16) / scores(8, 8) == pytest.approx(16)


def test_a_window_sees_only_itself() -> None:
    torch.manual_seed(0)
    block = FusionBlock(8, 2, 3, layer_scale=1.0).eval()
    content, guide = torch.rand(2, 8, 6, 6), torch.rand(2, 8, 3, 3)
    whole = block(content, guide)
    for top in (0, 3):
        for left in (0, 3):
            here = (..., slice(top, top + 3), slice(left, left + 3))
            torch.testing.assert_close(whole[here], block(content[here], guide))


def test_an_image_larger_than_the_working_size_is_read_by_every_second_pixel() -> None:
    model = poster_v2_s(FER_PLUS_LABELS).eval()
    x = torch.rand(2, 3, 96, 96)
    torch.testing.assert_close(model(x), model(x[..., ::2, ::2]))


def test_a_window_that_does_not_divide_its_map_is_refused() -> None:
    with pytest.raises(ValueError, match="does not divide the map of 12 px"):
        poster_v2_s(FER_PLUS_LABELS, windows=(5, 6, 3))


def test_both_streams_cost_more_than_either() -> None:
    def cost(streams: Streams) -> float:
        return sum(operations(poster_v2_s(FER_PLUS_LABELS, streams=streams), 48).values())

    assert cost("both") > cost("landmark_to_image")
    assert cost("both") > cost("image_to_landmark")


def test_each_stream_takes_its_content_from_its_own_branch() -> None:
    torch.manual_seed(0)
    for streams, content in (("landmark_to_image", "image"), ("image_to_landmark", "landmark")):
        block = poster_v2_s(FER_PLUS_LABELS, streams=streams).fusion[2].eval()
        image, landmark = torch.rand(1, 192, 3, 3), torch.rand(1, 192, 3, 3)
        used = image if content == "image" else landmark
        gained = block(image, landmark) - nn.functional.layer_norm(
            used.permute(0, 2, 3, 1), (192,)
        ).permute(0, 3, 1, 2)
        assert gained.abs().mean() < 0.2  # the shortcut is the content's own normed features


def test_a_frozen_landmark_branch_keeps_its_statistics() -> None:
    model = poster_v2(RAF_LABELS, working_px=32, windows=(8, 4, 2)).train()
    before = model.landmark.conv1.bn.running_mean.clone()
    model(torch.rand(2, 3, 32, 32))
    assert torch.equal(model.landmark.conv1.bn.running_mean, before)
    assert not torch.equal(model.image.input_layer[1].running_mean, torch.zeros(64))


def test_inter_relations_follow_the_papers_formula() -> None:
    torch.manual_seed(0)
    block = InterRelations(4, 6, 0.5, from_messages=False)
    features = torch.rand(2, 4, 6)
    weights, biases = block.branches.weight, block.branches.bias
    linear = [features[:, i] @ weights[i].T + biases[i] for i in range(4)]
    messages = torch.relu(torch.stack(linear, dim=1))
    omega = torch.tanh(torch.cdist(messages, messages)) * (1 - torch.eye(4))
    expected = 0.5 * features + 0.5 * omega @ messages
    torch.testing.assert_close(block(features), expected, atol=1e-4, rtol=1e-4)


def test_fdrls_losses_vanish_at_their_own_optimum() -> None:
    terms = FDRLTerms(2, 3, 4)
    targets = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    with torch.no_grad():
        terms.class_centres.copy_(torch.tensor([[1.0, 1.0, 1.0], [2.0, 2.0, 2.0]]))
    features = terms.feature_centres.detach().expand(2, 3, 4)
    even = terms.class_centres.detach()
    with torch.no_grad():
        assert float(terms(features, even, targets)) == pytest.approx(0.0, abs=1e-6)
        assert float(terms(features + 1, even, targets)) == pytest.approx(1e-4 * 12)
        uneven = torch.tensor([[3.0, 1.0, 1.0], [3.0, 1.0, 1.0]])
        shares = abs(0.6 - 1 / 3) + 2 * abs(0.2 - 1 / 3)
        apart = ((3 - 1) ** 2 + (3 - 2) ** 2 + 2 * (1 - 2) ** 2) / 2
        found = float(terms(features, uneven, targets))
    assert found == pytest.approx(shares + 1e-4 * apart, rel=1e-4)


def test_the_landmark_objective_learns_only_from_known_landmarks() -> None:
    model = poster_v2_s(FER_PLUS_LABELS)
    criterion = cross_entropy(0.0, None)
    objective = objective_for(model, criterion, {"landmarks": 1.0}, landmarks=True)
    assert isinstance(objective, LandmarkObjective)
    images, targets = torch.rand(4, 3, 48, 48), torch.full((4, 8), 0.125)
    unknown = torch.full((4, 68, 2), float("nan"))

    def loss(points: Tensor | None) -> float:
        with torch.inference_mode():
            return float(objective.eval()(Batch(images, targets, points))[0])

    assert loss(unknown) == pytest.approx(loss(None))
    assert loss(torch.full((4, 68, 2), 0.9)) > loss(None)


@pytest.mark.parametrize("make", [plain_cnn, resnet18, FDRL, poster_v2_s])
def test_every_model_gives_a_logit_a_label_at_any_batch(make: type[nn.Module]) -> None:
    model = make(("a", "b", "c")).eval()
    for batch in (1, 3):
        assert model(torch.rand(batch, 3, 48, 48)).shape == (batch, 3)
