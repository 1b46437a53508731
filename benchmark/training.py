"""The one training loop. It runs through Accelerate, knows no counter by name, and resumes exactly."""

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import lr_scheduler
from tqdm import tqdm

from benchmark.checkpoint import Snapshot
from benchmark.data.augment import augment
from benchmark.data.batches import Batch, shuffled
from benchmark.data.scene import Scene
from benchmark.device import accelerator as make_accelerator
from benchmark.device import resolve_precision
from benchmark.recipe import Recipe

if TYPE_CHECKING:
    from models.base import Counter

Score = Callable[["Counter"], float]
Loss = Callable[["Counter", Batch], Tensor]  # of each image, [B]
Features = Callable[[Tensor], Tensor]
Penalty = Callable[[Features, Tensor], Tensor]  # the counter's features and images -> what is added to each loss, [B]


class TrainingFailed(Exception):
    """A training that cannot go on; the message says where it stopped."""


@dataclass
class Progress:
    """How far a training is. losses: mean per image of each epoch; scores: [epoch, score] where measured."""

    epoch: int = 0
    losses: list[float] = field(default_factory=list)
    scores: list[list[float]] = field(default_factory=list)
    best_epoch: int | None = None

    @property
    def best(self) -> float:
        return min((score for _, score in self.scores), default=math.inf)


class Objective(nn.Module):
    """A counter seen as its loss, so that every forward pass of a training goes through one module."""

    def __init__(self, counter: "Counter", loss: Loss | None, penalties: Sequence[Penalty]):
        super().__init__()
        self.counter, self.loss, self.penalties = counter, loss, penalties

    def forward(self, batch: Batch) -> Tensor:
        loss = self.counter.loss(batch) if self.loss is None else self.loss(self.counter, batch)
        return sum((penalty(self.counter.features, batch.images) for penalty in self.penalties), start=loss)


def fit(counter: "Counter", scenes: list[Scene], recipe: Recipe, seed: int, title: str, score: Score | None = None,
        checkpoint: Path | None = None, penalties: Sequence[Penalty] = (), loss: Loss | None = None,
        after_step: Callable[[], None] | None = None) -> Progress:
    """Train a counter in place.

    scenes: the training set, as the trainer sees it: a poisoned one holds poisoned scenes like any other.
    score: lower is better; the weights of the epoch with the best score are kept. None keeps the last epoch's.
    checkpoint: a file written every `recipe.checkpoint_every` epochs; where it exists, training goes on from it and
        ends in the same weights as an uninterrupted run.
    penalties: an attacker's, where the attacker trains the counter.
    loss, after_step: a defender's own, in place of the counter's loss and after each step of the optimizer.

    A global batch is cut over the processes and its loss is the mean over its images whatever their number, so that
    two processes do what one does. Raises TrainingFailed when the loss is not finite.
    """
    accelerator = make_accelerator(resolve_precision(recipe.precision), recipe.tracker)
    counter.prepare(scenes)
    counter.to(accelerator.device, memory_format=torch.channels_last)
    steps = math.ceil(len(shuffled(scenes, recipe, np.random.default_rng(0))) / recipe.accumulate)  # of an epoch
    objective, optimizer = accelerator.prepare(Objective(counter, loss, penalties), _optimizer(counter, recipe))
    if recipe.compile:
        counter.compile()
    if after_step is not None:
        optimizer.optimizer.register_step_post_hook(lambda *_: after_step())
    schedule = _schedule(optimizer.optimizer, recipe, steps)
    progress, snapshot = Progress(), Snapshot(counter, optimizer.optimizer, schedule, accelerator.scaler)
    if checkpoint is not None and checkpoint.is_file():
        progress = Progress(**snapshot.load(checkpoint))
    if recipe.tracker:
        accelerator.init_trackers("crowdbench", config=recipe.model_dump())
    with tqdm(total=recipe.epochs * len(scenes), initial=progress.epoch * len(scenes), desc=title, unit="img",
              disable=not accelerator.is_main_process) as bar:
        while progress.epoch < recipe.epochs:
            mean = _epoch(accelerator, objective, optimizer, schedule, scenes, recipe, seed, progress.epoch, bar)
            if not math.isfinite(mean):
                raise TrainingFailed(f"{title}: the loss is {mean} in epoch {progress.epoch + 1}; lower training.lr?")
            progress.losses.append(mean)
            progress.epoch += 1
            accelerator.log({"loss": mean, "lr": schedule.get_last_lr()[0]}, step=progress.epoch)
            if score is not None and (progress.epoch % recipe.validate_every == 0 or progress.epoch == recipe.epochs):
                _keep_best(counter, score, progress, snapshot, bar)
            due = progress.epoch % recipe.checkpoint_every == 0 or progress.epoch == recipe.epochs
            if checkpoint is not None and due and accelerator.is_main_process:
                snapshot.save(checkpoint, vars(progress))
    if recipe.tracker:
        accelerator.end_training()
    accelerator.free_memory()
    snapshot.restore_best()
    counter.eval()
    return progress


def _epoch(accelerator: Accelerator, objective: nn.Module, optimizer: torch.optim.Optimizer,
           schedule: lr_scheduler.LRScheduler, scenes: list[Scene], recipe: Recipe, seed: int, epoch: int,
           bar: tqdm) -> float:
    """One pass over the scenes; the mean loss per image."""
    rank, world = accelerator.process_index, accelerator.num_processes
    torch.manual_seed(hash((seed, epoch)) % 2**63)  # for layers that draw random numbers
    batches = shuffled(scenes, recipe, np.random.default_rng([seed, epoch]))
    total = torch.zeros((), device=accelerator.device)
    objective.train()
    for number, indices in enumerate(batches, start=1):
        mine = indices[rank::world] or indices[:1]  # no image left for this process: it takes part with weight 0
        weight = world / len(indices) if indices[rank::world] else 0.0
        views = [augment(scenes[i], recipe, np.random.default_rng([seed, epoch, i])) for i in mine]
        batch = Batch.of(views, accelerator.device)
        step = number % recipe.accumulate == 0 or number == len(batches)
        with nullcontext() if step else accelerator.no_sync(objective):
            losses = objective(batch)
            accelerator.backward(losses.sum() * weight / recipe.accumulate)
        total += losses.detach().sum() * (weight > 0)
        if step:
            if recipe.clip is not None:
                accelerator.clip_grad_norm_(objective.parameters(), recipe.clip)
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
        bar.update(len(indices))
    loss = accelerator.reduce(total, "sum").item() / len(scenes)
    bar.set_postfix(epoch=epoch + 1, loss=f"{loss:.4g}", refresh=False)
    return loss


def _keep_best(counter: "Counter", score: Score, progress: Progress, snapshot: Snapshot, bar: tqdm) -> None:
    counter.eval()
    value, best = score(counter), progress.best
    progress.scores.append([progress.epoch, value])
    if value < best:
        progress.best_epoch = progress.epoch
        snapshot.keep_best()
    bar.set_postfix_str(f"{bar.postfix}, score={value:.3g}", refresh=False)


def _optimizer(counter: "Counter", recipe: Recipe) -> torch.optim.Optimizer:
    backbone = counter.backbone()
    front = set() if backbone is None else set(backbone.parameters())
    trained = [p for p in counter.parameters() if p.requires_grad]
    groups = [{"params": [p for p in trained if p not in front], "lr": recipe.lr},
              {"params": [p for p in trained if p in front], "lr": recipe.lr * recipe.backbone_lr_ratio}]
    groups = [group for group in groups if group["params"]]
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=recipe.momentum, weight_decay=recipe.weight_decay)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[recipe.optimizer]
    return kind(groups, weight_decay=recipe.weight_decay)


def _schedule(optimizer: torch.optim.Optimizer, recipe: Recipe, steps: int) -> lr_scheduler.LRScheduler:
    """The schedule of a training of `steps` steps an epoch; the rate changes at every step."""
    if recipe.schedule == "onecycle":
        peaks = [group["lr"] for group in optimizer.param_groups]
        return lr_scheduler.OneCycleLR(optimizer, peaks, total_steps=steps * recipe.epochs + 1, cycle_momentum=False)
    return lr_scheduler.LambdaLR(optimizer, lambda step: rate(recipe, step / steps))


def rate(recipe: Recipe, epoch: float) -> float:
    """The share of the learning rate at a time of the training, in epochs; 'onecycle' is torch's own.

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
        return (1 + math.cos(math.pi * min(epoch / max(recipe.epochs - recipe.warmup, 1), 1))) / 2
    length = 5.0
    while epoch >= length:
        epoch, length = epoch - length, 2 * length
    return 0.001 + 0.999 * (1 + math.cos(math.pi * epoch / length)) / 2
