"""What turns gradients into weights: optimizer, schedule, SAM, and averaged weights."""

import copy
import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from models.training.recipe import Recipe


def build_optimizer(parameters: Iterable[nn.Parameter], recipe: Recipe) -> Optimizer:
    """The recipe's optimizer over the trainable parameters; vectors are not decayed."""
    trained = [p for p in parameters if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if recipe.optimizer == "sgd":
        return SGD(groups, lr=recipe.lr, momentum=recipe.betas[0], nesterov=True)
    kind = Adam if recipe.optimizer == "adam" else AdamW
    return kind(groups, lr=recipe.lr, betas=recipe.betas)


def learning_rate(recipe: Recipe, epoch: float) -> float:
    """Learning rate at a moment of the training, in epochs since its start."""
    if recipe.schedule == "exponential":
        return recipe.lr * recipe.gamma ** int(epoch)
    if recipe.schedule == "multistep":
        return recipe.lr * recipe.gamma ** sum(epoch >= m for m in recipe.milestones)
    if recipe.schedule == "one_cycle":
        done = min(epoch / recipe.epochs, 1.0)
        if done < recipe.warm_up:
            return recipe.lr * (0.04 + 0.96 * done / recipe.warm_up)
        rest = (done - recipe.warm_up) / (1 - recipe.warm_up)
        return recipe.lr * (0.002 + 0.998 * 0.5 * (1 + math.cos(math.pi * rest)))
    return recipe.lr


def set_rate(optimizer: Optimizer, rate: float) -> None:
    """Let every group of parameters learn at this rate from now on."""
    for group in optimizer.param_groups:
        group["lr"] = rate


class Sam:
    """Sharpness-aware minimisation (Foret et al. 2021) over any optimizer.

    The gradient that is applied is the one found `rho` uphill, so that flat minima win. Costs a
    second forward and backward pass.
    """

    def __init__(self, optimizer: Optimizer, rho: float) -> None:
        self.optimizer, self.rho = optimizer, rho

    @torch.no_grad()
    def climb(self) -> list[tuple[nn.Parameter, Tensor]]:
        """Move `rho` along the gradient; returns what `descend` needs to come back."""
        trained = [p for g in self.optimizer.param_groups for p in g["params"]]
        moving = [p for p in trained if p.grad is not None]
        norm = torch.stack([p.grad.norm() for p in moving if p.grad is not None]).norm()
        before = []
        for parameter in moving:
            before.append((parameter, parameter.detach().clone()))
            if parameter.grad is not None:
                parameter.add_(parameter.grad * (self.rho / (norm + 1e-12)))
        self.optimizer.zero_grad()
        return before

    @torch.no_grad()
    def descend(self, before: list[tuple[nn.Parameter, Tensor]]) -> None:
        """Come back and step along the gradient found uphill."""
        for parameter, value in before:
            parameter.copy_(value)
        self.optimizer.step()
        self.optimizer.zero_grad()


class Averaged:
    """Exponential moving average of a model's weights and statistics (EMA)."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay, self.steps = decay, 0
        self.model = copy.deepcopy(model).eval()
        for parameter in self.model.parameters():
            parameter.requires_grad_(False)

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take one step's weights in; early steps weigh more, so that the start is forgotten."""
        self.steps += 1
        keep = min(self.decay, (1 + self.steps) / (10 + self.steps))
        mine, theirs = self.model.state_dict(), model.state_dict()
        floats = [k for k, v in mine.items() if v.is_floating_point()]
        torch._foreach_lerp_(  # the kernel of torch's own averaged models
            [mine[k] for k in floats], [theirs[k].detach() for k in floats], 1 - keep
        )
        for key, value in mine.items():
            if not value.is_floating_point():
                value.copy_(theirs[key])


Criterion = Callable[[Tensor, Tensor], Tensor]


def cross_entropy(smoothing: float, class_weights: Tensor | None) -> Criterion:
    """Cross-entropy against distributions (B, K), one-hot or not."""
    return nn.CrossEntropyLoss(weight=class_weights, label_smoothing=smoothing)
