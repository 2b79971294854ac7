"""Training: it learns, it goes on after a kill, it stops on nonsense. Tiny pictures, real loop."""

import itertools
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from models.architectures.cnn import plain_cnn
from models.architectures.fdrl import FDRL
from models.architectures.poster_v2 import poster_v2_s
from models.checkpoint import load_weights, read_card
from models.data import Faces, Sample
from models.registry import MODELS
from models.training import Trainer, class_weights, epoch_order
from models.training.optimisation import Averaged, Sam, build_optimizer, learning_rate
from models.training.recipe import (
    Recipe,
    RecipeError,
    TrainingError,
    load_recipe,
    make_recipe,
)
from models.training.runs import answers_of, find_recipe, read_budget, recipes_folder
from tests.models.test_data import picture

LABELS = ("dark", "bright")
CARD = replace(MODELS["cnn"], labels=LABELS, input_hw=(16, 16))
QUICK: dict[str, Any] = {
    "epochs": 2, "batch": 8, "lr": 5e-3, "ema": 0.0, "amp": "off", "weight_decay": 0.0,
    "schedule": "constant",
}  # fmt: skip


def faces(each: int = 16, soft: bool = False, points: bool = False) -> Faces:
    """Faces of two kinds that any classifier can tell apart."""
    marks = np.full((68, 2), 0.5, dtype=np.float32) if points else None
    made = [
        Sample(f"{label}{i}", picture(60 + 120 * n + i), label, (1.0 - n, float(n)), marks)
        for n, label in enumerate(LABELS)
        for i in range(each)
    ]
    return Faces(made, LABELS, (16, 16), soft=soft, source="made", source_labels=LABELS)


def small() -> nn.Module:
    torch.manual_seed(0)
    return plain_cnn(LABELS, widths=(8, 8, 8))


def trainer(run: Path, model: nn.Module | None = None, **changes: Any) -> Trainer:
    recipe = make_recipe(QUICK | changes)
    return Trainer(model or small(), CARD, recipe, faces(), faces(4), run)


def test_it_learns_what_can_be_learned(tmp_path: Path) -> None:
    progress = trainer(tmp_path, epochs=6).fit()
    assert progress.best == 1.0
    assert progress.curves[-1].loss < progress.curves[0].loss
    restored = plain_cnn(LABELS, widths=(8, 8, 8))
    load_weights(
        restored, tmp_path / "best.safetensors", read_card(tmp_path / "best.safetensors").sha256
    )
    budget = read_budget(tmp_path)
    assert budget is not None
    assert (budget.epochs, budget.pictures) == (6, 32)
    assert len((tmp_path / "curves.csv").read_text().splitlines()) == 7


@pytest.mark.parametrize(
    "changes",
    [
        {"sam_rho": 0.05, "optimizer": "adam"},
        {"ema": 0.9, "optimizer": "sgd"},
        {"balance": "sampler", "clip_norm": 1.0},
        {"balance": "loss", "label_smoothing": 0.1, "schedule": "one_cycle"},
        {"amp": "bf16", "schedule": "exponential", "augmentation": {"flip": 0.5, "erase": 0.5}},
    ],
)
def test_every_part_of_a_recipe_trains(tmp_path: Path, changes: dict[str, Any]) -> None:
    progress = trainer(tmp_path, **changes).fit()
    assert progress.epoch == 2
    assert all(np.isfinite(line.loss) for line in progress.curves)


def test_a_killed_run_goes_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    changes = {"ema": 0.9, "augmentation": {"flip": 0.5}}
    whole = trainer(tmp_path / "whole", epochs=4, **changes)
    whole.fit()
    trainer(tmp_path / "killed", epochs=2, **changes).fit()
    resumed = trainer(tmp_path / "killed", epochs=4, **changes)
    progress = resumed.fit(resume=True)
    assert progress.epoch == 4
    for (name, once), twice in zip(
        whole.kept.state_dict().items(), resumed.kept.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(once, twice, msg=name)


def test_resuming_another_models_run_is_refused(tmp_path: Path) -> None:
    trainer(tmp_path).fit()
    other = trainer(tmp_path, model=plain_cnn(LABELS, widths=(8, 16, 8)))
    with pytest.raises(TrainingError, match="another model or recipe"):
        other.fit(resume=True)


def test_a_loss_that_is_no_number_stops_and_keeps_the_best(tmp_path: Path) -> None:
    model = small()
    run = trainer(tmp_path, model=model, epochs=3)
    run.fit()
    before = (tmp_path / "best.safetensors").read_bytes()
    again = trainer(tmp_path, model=model, epochs=5)
    with torch.no_grad():
        model.get_parameter("head.bias").fill_(float("nan"))
    with pytest.raises(
        TrainingError, match=r"epoch 1, batch 1; stopped.*best\.safetensors"
    ) as caught:
        again.fit()
    assert len(str(caught.value).splitlines()) == 1
    assert (tmp_path / "best.safetensors").read_bytes() == before


def test_it_stops_when_the_validation_part_stops_gaining(tmp_path: Path) -> None:
    progress = trainer(tmp_path, epochs=50, patience=2, lr=1e-2).fit()
    assert progress.epoch < 50
    assert progress.epoch == progress.best_epoch + 2


def test_fdrl_and_the_landmark_branch_learn_with_their_own_losses(tmp_path: Path) -> None:
    recipe = make_recipe(QUICK | {"epochs": 1, "objective": {"balance": 0.5}})
    card = replace(MODELS["fdrl"], labels=LABELS, input_hw=(32, 32))
    small_faces = Faces(faces(4).samples, LABELS, (32, 32), source="made")
    run = Trainer(
        FDRL(LABELS, branches=3, width=8), card, recipe, small_faces, small_faces, tmp_path
    )
    centres = run.objective.get_parameter("terms.class_centres").clone()
    run.fit()
    assert not torch.equal(centres, run.objective.get_parameter("terms.class_centres"))
    recipe = make_recipe(QUICK | {"epochs": 1, "landmarks": True, "objective": {"landmarks": 1.0}})
    card = replace(MODELS["poster_v2_s"], labels=LABELS)
    marked = Faces(faces(4, points=True).samples, LABELS, (48, 48), source="made")
    run = Trainer(poster_v2_s(LABELS), card, recipe, marked, marked, tmp_path / "s")
    head = run.objective.get_parameter("head.linear.weight").clone()
    run.fit()
    assert not torch.equal(head, run.objective.get_parameter("head.linear.weight"))
    assert not any("head.linear" in k for k in run.model.state_dict())


def test_a_training_by_the_clock_anneals_within_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock that moves a second a look: the schedule ends where the time ends."""
    clock = itertools.count()
    monkeypatch.setattr("models.training.time.monotonic", lambda: float(next(clock)))
    recipe = make_recipe(QUICK | {"epochs": 1000, "schedule": "one_cycle"})
    run = Trainer(small(), CARD, recipe, faces(), faces(4), tmp_path, limit_s=30)
    progress = run.fit()
    assert progress.epoch < 30
    assert progress.seconds >= 30
    assert progress.curves[-1].lr < 0.05 * max(line.lr for line in progress.curves)
    again = Trainer(small(), CARD, recipe, faces(), faces(4), tmp_path, limit_s=30)
    assert again.fit(resume=True).epoch == progress.epoch


def test_pictures_grow_as_the_recipe_says(tmp_path: Path) -> None:
    sides: list[int] = []
    model = small()
    model.register_forward_pre_hook(
        lambda module, seen: sides.append(seen[0].shape[-1]) if module.training else None
    )
    recipe = make_recipe(QUICK | {"epochs": 4, "grow": [{"until": 0.5, "px": 16}]})
    large = Faces(faces().samples, LABELS, (24, 24), source="made")
    Trainer(model, replace(CARD, input_hw=(24, 24)), recipe, large, large, tmp_path).fit()
    steps = len(large) // QUICK["batch"]
    assert sides == [16] * 2 * steps + [24] * 2 * steps


def test_a_teacher_must_know_every_label(tmp_path: Path) -> None:
    card = replace(CARD, arguments={"widths": (8, 8, 8)})
    recipe = make_recipe(QUICK | {"epochs": 1})
    Trainer(small(), card, recipe, faces(), faces(4), tmp_path).fit()
    weights = tmp_path / "best.safetensors"
    answers = answers_of(weights, faces(2), torch.device("cpu"))
    assert answers.shape == (4, 2)
    torch.testing.assert_close(answers.sum(1), torch.ones(4))
    other = Faces([Sample("x", picture(0), "tired")], ("tired",), (16, 16))
    with pytest.raises(TrainingError, match="does not know tired"):
        answers_of(weights, other, torch.device("cpu"))


def test_sam_steps_along_the_gradient_found_uphill() -> None:
    weight = nn.Parameter(torch.tensor([1.0, 0.0]))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    sam = Sam(optimizer, rho=0.5)

    def loss() -> torch.Tensor:
        return (weight**4).sum()

    loss().backward()
    before = sam.climb()
    assert weight[0].item() == pytest.approx(1.5)
    loss().backward()
    sam.descend(before)
    assert weight[0].item() == pytest.approx(1.0 - 0.1 * 4 * 1.5**3)


def test_averaged_weights_forget_their_start_and_follow() -> None:
    model = nn.Linear(1, 1, bias=False)
    averaged = Averaged(model, 0.9)
    with torch.no_grad():
        model.weight.fill_(3.0)
    for _ in range(200):
        averaged.update(model)
    assert float(averaged.model.weight.detach()) == pytest.approx(3.0, abs=1e-3)


@pytest.mark.parametrize(
    ("recipe", "epoch", "expected"),
    [
        ({"schedule": "constant"}, 30, 1.0),
        ({"schedule": "exponential", "gamma": 0.98}, 2.7, 0.98**2),
        ({"schedule": "multistep", "gamma": 0.1, "milestones": (10, 18)}, 12, 0.1),
        ({"schedule": "multistep", "gamma": 0.1, "milestones": (10, 18)}, 18, 0.01),
        ({"schedule": "one_cycle", "epochs": 10, "warm_up": 0.1}, 1, 1.0),
        ({"schedule": "one_cycle", "epochs": 10, "warm_up": 0.1}, 10, 0.002),
    ],
)
def test_schedules(recipe: dict[str, Any], epoch: float, expected: float) -> None:
    assert learning_rate(make_recipe({"lr": 1.0} | recipe), epoch) == pytest.approx(expected)


def test_balanced_sampling_draws_every_class_alike() -> None:
    uneven = faces().part([*range(16), 16, 17])
    order = epoch_order(uneven, make_recipe({"balance": "sampler"}), 0)
    rare = sum(uneven.truth[i].item() == 1 for i in order)
    assert 4 <= rare <= 14
    assert class_weights(uneven).tolist() == pytest.approx([18 / 32, 18 / 4])


def test_vectors_are_not_decayed() -> None:
    groups = build_optimizer(small().parameters(), make_recipe({"weight_decay": 0.1})).param_groups
    assert {g["weight_decay"]: {p.ndim > 1 for p in g["params"]} for g in groups} == {
        0.1: {True},
        0.0: {False},
    }


@pytest.mark.parametrize("path", sorted(recipes_folder().glob("*.yaml")), ids=lambda p: p.stem)
def test_every_recipe_of_the_house_is_valid_and_says_its_source(path: Path) -> None:
    assert load_recipe(path).source


def test_the_papers_recipes_are_the_papers() -> None:
    poster = load_recipe(find_recipe("poster_v2"))
    assert (poster.lr, poster.batch, poster.epochs, poster.sam_rho, poster.gamma) == (
        3.5e-5, 144, 200, 0.05, 0.98,
    )  # fmt: skip
    fdrl = load_recipe(find_recipe("fdrl"))
    assert (fdrl.lr, fdrl.epochs, fdrl.milestones, fdrl.betas) == (
        1e-4, 40, (10, 18, 25, 32), (0.5, 0.999),
    )  # fmt: skip
    assert fdrl.objective == {"compactness": 1e-4, "balance": 1.0, "distribution": 1e-4}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("epoch: 3", "epoch: Extra inputs"),
        ("lr: fast", "lr: Input should be a valid number"),
        ("augmentation: {flip: 2}", "augmentation.flip"),
        ("milestones: [9, 3]", "milestones must rise"),
        ("grow: [{until: 0.5, px: 64}, {until: 0.7, px: 32}]", "must rise"),
        ("[1, 2]", "a recipe is a mapping"),
        ("a: [", "not a YAML file"),
    ],
)
def test_a_wrong_recipe_is_told_in_one_line(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(RecipeError, match=told) as caught:
        load_recipe(tmp_path / "r.yaml")
    assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(TrainingError, match="no recipe 'nothing'"):
        find_recipe("nothing")
    assert isinstance(make_recipe({}), Recipe)


@pytest.mark.slow
def test_two_processes_under_torchrun_train_one_model(tmp_path: Path) -> None:
    for label, value in (("dark", 40), ("bright", 200)):
        for i in range(24):
            path = tmp_path / "data" / "train" / label / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(picture(value + i % 20 + (i // 20)))
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
         "-m", "models.cli", "train", "cnn", "--data", str(tmp_path / "data"),
         "--into", str(tmp_path / "run"), "--recipe", "fine_tune", "--epochs", "2", "--batch", "8"],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    budget = read_budget(tmp_path / "run")
    assert budget is not None
    assert budget.processes == 2
