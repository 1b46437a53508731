"""Optimizer and learning-rate schedule: both are built from a recipe."""

import math
from typing import TYPE_CHECKING

import torch
from torch.optim import lr_scheduler

from benchmark.recipe import Recipe

if TYPE_CHECKING:
    from models.base import Counter


def make_optimizer(counter: "Counter", recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimizer; the backbone gets `backbone_lr_ratio` times the learning rate.

    On CUDA a step of all parameters is one kernel. On a CPU torch's usual loop runs: a fused step
    rounds in another way, and published records were made with the usual one.
    """
    backbone = counter.backbone()
    in_backbone = set() if backbone is None else set(backbone.parameters())
    trainable = [parameter for parameter in counter.parameters() if parameter.requires_grad]
    head = {"params": [parameter for parameter in trainable if parameter not in in_backbone],
            "lr": recipe.lr}
    front = {"params": [parameter for parameter in trainable if parameter in in_backbone],
             "lr": recipe.lr * recipe.backbone_lr_ratio}
    groups = [group for group in (head, front) if group["params"]]
    fused = True if all(parameter.is_cuda for parameter in trainable) else None
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=recipe.momentum, weight_decay=recipe.weight_decay,
                               fused=fused)
    optimizer = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[recipe.optimizer]
    return optimizer(groups, weight_decay=recipe.weight_decay, fused=fused)


def make_schedule(optimizer: torch.optim.Optimizer, recipe: Recipe,
                  steps_per_epoch: int) -> lr_scheduler.LRScheduler:
    """The recipe's learning-rate schedule, which changes the rate after every step."""
    if recipe.schedule == "onecycle":
        peaks = [group["lr"] for group in optimizer.param_groups]
        return lr_scheduler.OneCycleLR(optimizer, peaks, cycle_momentum=False,
                                       total_steps=steps_per_epoch * recipe.epochs + 1)
    return lr_scheduler.LambdaLR(optimizer, lambda step: rate(recipe, step / steps_per_epoch))


def rate(recipe: Recipe, epoch: float) -> float:
    """The factor of the learning rate at a point of the training, which is given in epochs.

    The schedule 'onecycle' is not computed here: it is torch's own `OneCycleLR`.
    Cosine annealing with and without warm restarts: Loshchilov and Hutter, ICLR 2017, eq. 5.

    >>> restarts = Recipe(schedule="restarts", warmup=2, epochs=30)
    >>> [round(rate(restarts, epoch), 3) for epoch in (0, 1, 2, 4.5, 6.999, 7, 12, 17)]
    [0.01, 0.505, 1.0, 0.5, 0.001, 1.0, 0.5, 1.0]
    """
    if epoch < recipe.warmup:
        return 0.01 + 0.99 * epoch / recipe.warmup
    if recipe.schedule == "constant":
        return 1.0
    epoch -= recipe.warmup
    if recipe.schedule == "cosine":
        share_done = min(epoch / max(recipe.epochs - recipe.warmup, 1), 1)
        return (1 + math.cos(math.pi * share_done)) / 2
    period = 5.0
    while epoch >= period:
        epoch -= period
        period *= 2
    return 0.001 + 0.999 * (1 + math.cos(math.pi * epoch / period)) / 2
