"""Teach the eye-state network: balanced draws of varied crops, labels that allow several states."""

from collections.abc import Callable
from typing import TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.architectures.eye_state import EyeState, eye_state
from models.data.eye_augmentation import relight, vary
from models.data.eyes import NOT_VISIBLE, EyeCrops, view_of
from models.inference.eye_crops import probabilities, standardise

# How often each state is drawn; hidden eyes are made of all others besides. Closed ones most: what
# looks like them, open or lowered, is twice as much together.
STATE_SHARES = (0.34, 0.41, 0.16, 0.09)
# A set of fewer crops of a state counts as if it had so many.
LEAST_CROPS = 1500
# Keeps 2 % for the states that a label does not allow: some labels are wrong.
SMOOTHING = 0.03


def draw_chances(data: EyeCrops) -> NDArray[np.float64]:
    """How likely each crop is drawn: by state, then source, then person; (N,) that sum to 1.

    Sources count by the square root of their crops, and so do people within a source: neither a
    large set nor a person of a thousand crops drowns the others.
    """
    first = data.states.argmax(1)
    chances = np.zeros(len(data))
    for state, share in enumerate(STATE_SHARES):
        of_state = first == state
        weights = np.zeros(len(data))
        for source in np.unique(data.source[of_state]):
            here = of_state & (data.source == source)
            _, person, counts = np.unique(
                data.people[here], return_inverse=True, return_counts=True
            )
            each = counts[person] ** -0.5
            weights[here] = np.sqrt(max(here.sum(), LEAST_CROPS)) * each / each.sum()
        if weights.sum() > 0:
            chances += share * weights / weights.sum()
    return np.asarray(chances / chances.sum(), np.float64)


def allowed_loss(logits: Tensor, allowed: Tensor) -> Tensor:
    """Cross entropy of a set of states: minus the log of the probability of being in it.

    Args:
        logits: (B, 4).
        allowed: (B, 4) of 0 and 1.
    """
    logs = torch.log_softmax(logits, 1)
    inside = torch.logsumexp(logs + torch.log(allowed.clamp_min(1e-6)), 1)
    return -((1 - SMOOTHING) * inside + SMOOTHING * logs.mean(1)).mean()


class EyeTraining(TypedDict, total=False):
    """Settings of `train_eyes`; those left out have its defaults."""

    steps: int
    batch: int
    lr: float
    seed: int


def train_eyes(
    data: EyeCrops,
    *,
    start: EyeState | None = None,
    steps: int = 3000,
    batch: int = 128,
    lr: float = 2.5e-3,
    seed: int = 0,
    progress: Callable[[int, int, float], None] | None = None,
) -> EyeState:
    """Train the network; gives the averaged (EMA) one. The same arguments give the same network.

    Args:
        data: stored crops.
        start: a trained network to go on from; None starts from scratch. It is changed.
        steps, batch, lr: as usual; one cycle of the learning rate over all steps.
        seed: of everything drawn by chance.
        progress: called every hundred steps with (step, steps, mean loss).
    """
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    network = (start or eye_state()).to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    averaged = torch.optim.swa_utils.AveragedModel(
        network,
        multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(1 - 8 / max(steps, 16)),  # type: ignore[no-untyped-call]
        use_buffers=True,
    )
    optimizer = torch.optim.AdamW(network.parameters(), lr=lr, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps, pct_start=0.1)
    reach, total = np.cumsum(draw_chances(data)), 0.0
    for step in range(steps):
        drawn = np.searchsorted(reach, rng.random(batch) * reach[-1])
        crops, allowed = _batch(data, np.minimum(drawn, len(data) - 1), rng)
        x = torch.from_numpy(crops).contiguous(memory_format=torch.channels_last)
        loss = allowed_loss(network(x), torch.from_numpy(allowed))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        averaged.update_parameters(network)
        total += float(loss.detach())
        if progress is not None and (step + 1) % 100 == 0:
            progress(step + 1, steps, total / 100)
            total = 0.0
    network.load_state_dict(averaged.module.state_dict())
    return network.to(memory_format=torch.contiguous_format).eval()  # type: ignore[no-any-return]


def _batch(
    data: EyeCrops, drawn: NDArray[np.int64], rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    others = rng.integers(len(data), size=len(drawn))
    allowed, crops = data.states[drawn].copy(), []
    for row, (index, other) in enumerate(zip(drawn, others, strict=True)):
        crop, hidden = vary(data.crops[index], data.crops[other], rng)
        crops.append(crop)
        if hidden:
            allowed[row] = NOT_VISIBLE
    return standardise(relight(np.stack(crops), rng)), allowed


def judge_eyes(network: nn.Module, data: EyeCrops) -> NDArray[np.float64]:
    """Probabilities (N, 4) of stored crops, seen as they are."""
    judged = [np.zeros((0, 4))]
    for begin in range(0, len(data), 512):
        crops = standardise(view_of(data.crops[begin : begin + 512]))
        with torch.inference_mode():
            judged.append(probabilities(network(torch.from_numpy(crops)).numpy()))
    return np.concatenate(judged)
