"""Weights: written, read, refused. The released models' own numbers are the judges."""

import contextlib
import json
import pickle
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.architectures.cnn import ir50, plain_cnn, resnet18
from models.architectures.fdrl import FDRL
from models.architectures.poster import poster
from models.architectures.poster_v2 import poster_v2, poster_v2_s
from models.checkpoint import (
    CheckpointError,
    DamagedCheckpointError,
    ForeignCheckpointError,
    load_weights,
    read_card,
    read_state,
    read_tensors,
    write_weights,
)
from models.key_maps import IR50, POSTER, POSTER_V2, rename
from models.registry import FER_PLUS_LABELS, MODELS, RAF_LABELS
from tests.support.paths import SHARED

GOLDEN = SHARED / "golden"
needs_golden = pytest.mark.skipif(not GOLDEN.is_dir(), reason="needs ../shared/golden")


def released_value(key: str, shape: list[int]) -> torch.Tensor:
    """The deterministic weights of ../shared/golden/README.md."""
    z = np.random.default_rng(zlib.crc32(key.encode())).standard_normal(int(np.prod(shape)))
    if key.endswith("running_var"):
        z = 1 + 0.1 * np.abs(z)
    elif key.endswith("running_mean"):
        z = 0.05 * z
    elif key.endswith("weight") and len(shape) <= 1:
        z = 1 + 0.1 * z
    elif key.endswith("bias"):
        z = 0.02 * z
    elif len(shape) >= 2:
        z = z / np.sqrt(np.prod(shape[1:]))
    else:
        z = 0.1 * z
    return torch.from_numpy(z.reshape(shape))


def released_state() -> dict[str, torch.Tensor]:
    layout = json.loads((GOLDEN / "poster_v2_layout.json").read_text())["state_dict"]
    return {
        key: released_value(key, shape) if "float" in dtype else torch.zeros(shape).long()
        for key, (dtype, shape) in layout.items()
    }


class RecorderMeter:
    """What the released training script pickles beside its weights."""

    def __init__(self) -> None:
        self.epoch_losses = np.zeros((4, 2), dtype=np.float32)


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, ("import pathlib; pathlib.Path('ran').touch()",))


@pytest.mark.shared
@needs_golden
def test_the_released_poster_v2_gives_the_released_logits(tmp_path: Path) -> None:
    path = tmp_path / "raf-db-model_best.pth"
    state = {f"module.{key}": value for key, value in released_state().items()}
    torch.save({"epoch": 3, "state_dict": state, "recorder": RecorderMeter()}, path)
    model = poster_v2(RAF_LABELS).double().eval()
    assert load_weights(model, path).prefix == ""
    x = torch.from_numpy(np.random.default_rng(7).random((2, 3, 224, 224)))
    golden = json.loads((GOLDEN / "poster_v2_logits.json").read_text())
    with torch.inference_mode():
        exact, single = model(x), model.float()(x.float())
    torch.testing.assert_close(
        exact, torch.tensor(golden["logits_float64"]).double(), atol=1e-5, rtol=0
    )
    torch.testing.assert_close(single, torch.tensor(golden["logits_float32"]), atol=1e-5, rtol=0)


@pytest.mark.shared
@needs_golden
def test_every_released_tensor_is_used_once_or_known_to_be_dead() -> None:
    layout = json.loads((GOLDEN / "poster_v2_layout.json").read_text())["state_dict"]
    shapes = {key: torch.empty(shape, device="meta") for key, (_, shape) in layout.items()}
    renamed = rename(shapes, POSTER_V2)
    own = poster_v2(RAF_LABELS).state_dict()
    assert {k: tuple(v.shape) for k, v in renamed.items()} == {
        k: tuple(v.shape) for k, v in own.items()
    }


def test_the_files_poster_v2_starts_from_fill_its_backbones(tmp_path: Path) -> None:
    donor, model = poster_v2(RAF_LABELS), poster_v2(RAF_LABELS)
    torch.save({"state_dict": donor.landmark.state_dict()}, tmp_path / "mobilefacenet.pth.tar")
    evolve = {}
    for key, value in donor.image.state_dict().items():
        body, block, rest = (*key.split(".", 2), "", "")[:3]
        first = {"body1": 0, "body2": 3, "body3": 7}.get(body)
        evolve[key if first is None else f"body.{int(block) + first}.{rest}"] = value
    torch.save({**evolve, "body.21.res_layer.0.weight": torch.ones(3)}, tmp_path / "ir50.pth")
    assert load_weights(model, tmp_path / "mobilefacenet.pth.tar").prefix == "landmark"
    assert load_weights(model, tmp_path / "ir50.pth").prefix == "image"
    for key, value in donor.state_dict().items():
        if key.startswith(("image.", "landmark.")):
            assert torch.equal(model.state_dict()[key], value), key
    assert rename({"body1.0.x": torch.ones(1)}, IR50).keys() == {"body1.0.x"}


def test_the_small_poster_v2_starts_from_the_plain_network(tmp_path: Path) -> None:
    donor, model = plain_cnn(FER_PLUS_LABELS), poster_v2_s(FER_PLUS_LABELS)
    write_weights(donor, MODELS["cnn"], tmp_path / "cnn.safetensors")
    assert load_weights(model, tmp_path / "cnn.safetensors").prefix == "image"
    x = torch.rand(2, 3, 48, 48)
    coarse = model.eval().image(x)[2]
    torch.testing.assert_close(coarse, donor.eval().stages(x), atol=2e-2, rtol=2e-2)


def test_a_third_party_fdrl_file_is_mapped(tmp_path: Path) -> None:
    donor = FDRL(RAF_LABELS, from_messages=True)
    children = {"conv1": 0, "bn1": 1, "layer1": 4, "layer2": 5, "layer3": 6, "layer4": 7}
    prefix = {
        "decomposition": "fdn.fdn_fc{}", "intra": "frn.intra_rm.intra_fc{}",
        "inter": "frn.inter_rm.inter_fc{}",
    }  # fmt: skip
    theirs = {}
    for key, value in donor.state_dict().items():
        first, rest = key.split(".", 1)
        if first == "backbone":
            child, rest = rest.split(".", 1)
            theirs[f"backbone.{children[child]}.{rest}"] = value
        elif first == "head":
            theirs[f"epn.{rest}"] = value
        else:
            for i, layer in enumerate(value):
                theirs[f"{prefix[first].format(i)}.0.{rest.split('.')[-1]}"] = layer
    torch.save(theirs, tmp_path / "fdrl.pth")
    model = FDRL(RAF_LABELS, from_messages=True)
    load_weights(model, tmp_path / "fdrl.pth")
    x = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(model.eval()(x), donor.eval()(x))


def test_released_poster_names_are_known() -> None:
    theirs = {
        "pyramid_fuse.blocks.3.block_m.attn_lm.proj.bias": (
            "layers.3.medium.landmark.attention.proj.bias"
        ),
        "pyramid_fuse.blocks.0.block_s.mlp1.fc2.bias": "layers.0.small.image.mlp.2.bias",
        "pyramid_fuse.blocks.7.upsample_s.weight": "layers.7.widen_small.weight",
        "ir_back.body.7.res_layer.1.weight": "image.body3.0.res_layer.1.weight",
        "pyramid_fuse.blocks.1.block_l.conv.bias": "layers.1.large.mix.bias",
    }
    own = poster(RAF_LABELS).state_dict()
    for name, ours in theirs.items():
        assert list(rename({name: torch.ones(1)}, POSTER)) == [ours]
        assert ours in own


def test_what_is_written_is_read_back_in_half_precision(tmp_path: Path) -> None:
    card = MODELS["cnn"]
    model = plain_cnn(card.labels)
    written = write_weights(model, card, tmp_path / "cnn.safetensors")
    assert read_card(tmp_path / "cnn.safetensors") == written
    other = plain_cnn(card.labels)
    load_weights(other, tmp_path / "cnn.safetensors", written.sha256)
    for mine, theirs in zip(model.state_dict().values(), other.state_dict().values(), strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-3, rtol=1e-3)


def test_code_in_a_checkpoint_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {"a": torch.ones(1)}, "extra": Bomb()}, "bomb.pth")
    (tmp_path / "raw.pth").write_bytes(pickle.dumps(Bomb()))
    for name in ("bomb.pth", "raw.pth"):
        with contextlib.suppress(CheckpointError):
            read_state(Path(name))
    assert not (tmp_path / "ran").exists()


def test_a_truncated_file_is_told_in_one_line(tmp_path: Path) -> None:
    card = MODELS["cnn"]
    write_weights(plain_cnn(card.labels), card, tmp_path / "a.safetensors")
    whole = (tmp_path / "a.safetensors").read_bytes()
    (tmp_path / "a.safetensors").write_bytes(whole[: len(whole) // 2])
    torch.save({"a": torch.ones(1000)}, tmp_path / "b.pth")
    whole = (tmp_path / "b.pth").read_bytes()
    (tmp_path / "b.pth").write_bytes(whole[: len(whole) // 2])
    for name in ("a.safetensors", "b.pth", "missing.pth"):
        with pytest.raises(DamagedCheckpointError, match=name) as caught:
            read_tensors(tmp_path / name)
        assert len(str(caught.value).splitlines()) == 1


def test_a_file_that_is_not_its_cards_is_refused(tmp_path: Path) -> None:
    card = write_weights(plain_cnn(FER_PLUS_LABELS), MODELS["cnn"], tmp_path / "cnn.safetensors")
    write_weights(plain_cnn(FER_PLUS_LABELS), MODELS["cnn"], tmp_path / "cnn.safetensors")
    with pytest.raises(DamagedCheckpointError, match="sha256"):
        load_weights(plain_cnn(FER_PLUS_LABELS), tmp_path / "cnn.safetensors", card.sha256)


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    write_weights(plain_cnn(FER_PLUS_LABELS), MODELS["cnn"], tmp_path / "cnn.safetensors")
    with pytest.raises(ForeignCheckpointError, match="another model"):
        load_weights(FDRL(FER_PLUS_LABELS), tmp_path / "cnn.safetensors")
    with pytest.raises(ForeignCheckpointError, match="number of labels"):
        load_weights(plain_cnn(RAF_LABELS), tmp_path / "cnn.safetensors")
    torch.save({"epoch": 1}, tmp_path / "empty.pth")
    with pytest.raises(ForeignCheckpointError, match="no weights"):
        load_weights(plain_cnn(RAF_LABELS), tmp_path / "empty.pth")


def test_fine_tuning_carries_the_head_over_by_label(tmp_path: Path) -> None:
    donor = poster_v2_s(FER_PLUS_LABELS)
    write_weights(donor, MODELS["poster_v2_s"], tmp_path / "s.safetensors")
    model = poster_v2_s(("tired", "anger"))
    first = model.vit.head.weight.clone()
    relabel = (FER_PLUS_LABELS, ("tired", "anger"))
    load_weights(model, tmp_path / "s.safetensors", relabel=relabel)
    assert torch.equal(model.vit.head.weight[0], first[0])
    anger = donor.vit.head.weight[FER_PLUS_LABELS.index("anger")]
    torch.testing.assert_close(model.vit.head.weight[1], anger, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(
        model.vit.gate.linear1.weight, donor.vit.gate.linear1.weight, atol=1e-3, rtol=1e-3
    )


def test_larger_pictures_start_from_the_positions_of_smaller_ones(tmp_path: Path) -> None:
    donor = poster_v2_s(RAF_LABELS)
    with torch.no_grad():
        donor.vit.pos_embed[0, 0], donor.vit.pos_embed[0, 1:10] = 7.0, 1.0
        donor.vit.pos_embed[0, 10:19], donor.vit.pos_embed[0, 19:] = 2.0, 3.0
    write_weights(donor, MODELS["poster_v2_s"], tmp_path / "s.safetensors")
    larger = poster_v2_s(RAF_LABELS, working_px=64, windows=(8, 8, 4))
    with pytest.raises(ForeignCheckpointError, match=r"bias_table|pos_embed"):
        load_weights(larger, tmp_path / "s.safetensors")
    load_weights(larger, tmp_path / "s.safetensors", relabel=(RAF_LABELS, RAF_LABELS))
    positions = larger.vit.pos_embed[0, :, 0]
    torch.testing.assert_close(
        positions, torch.tensor([7.0, *[1.0] * 16, *[2.0] * 16, *[3.0] * 16])
    )
    assert larger(torch.zeros(1, 3, 64, 64)).shape == (1, 7)


def test_plain_classifiers_fill_the_backbones_of_the_others(tmp_path: Path) -> None:
    for donor, name, model, part in (
        (resnet18(RAF_LABELS), "resnet18", FDRL(RAF_LABELS), "backbone"),
        (ir50(RAF_LABELS), "ir50", poster_v2(RAF_LABELS), "image"),
    ):
        path = tmp_path / f"{name}.safetensors"
        write_weights(donor, MODELS[name], path)
        assert load_weights(model, path, relabel=(RAF_LABELS, RAF_LABELS)).prefix == part
        key, value = next(iter(donor.trunk.state_dict().items()))
        filled = model.get_submodule(part).state_dict()[key]
        torch.testing.assert_close(filled, value, atol=1e-3, rtol=1e-3)
