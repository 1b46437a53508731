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

from benchmark.data.augmentation import augment
from benchmark.data.batches import Batch, shuffled
from benchmark.data.scene import Scene
from benchmark.recipe import Recipe
from benchmark.training.checkpoint import Snapshot
from benchmark.utils.device import accelerator as make_accelerator
from benchmark.utils.device import resolve_precision, state
from benchmark.utils.memory import keep_buffers, retry_with_smaller_batches
from benchmark.utils.progress import Bar

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
    """How far a training is. losses: mean per image of each epoch; scores: [epoch, score] where measured.

    micro_batch: images per forward pass, fewer than a batch's since memory ran out; None passes whole batches.
    """

    epoch: int = 0
    losses: list[float] = field(default_factory=list)
    scores: list[list[float]] = field(default_factory=list)
    best_epoch: int | None = None
    micro_batch: int | None = None

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
    two processes do what one does.

    Where memory runs out, the training starts over, from the checkpoint or else from the beginning, and passes half
    the images at a time. The gradients of a batch's parts are added up: the same steps up to rounding, but for what
    sees the images of a pass together, such as BatchNorm. The weights depend on how many images pass at last, not on
    when memory ran out, unless it did after a checkpoint: the epochs before that passed more. A `loss` with a state
    keeps that state. Several processes cannot start over, for one that has memory left waits for the others.

    Raises TrainingFailed when the loss or a weight is not finite, and when memory runs out with one image at a time.
    """
    keep_buffers()
    counter.prepare(scenes)
    counter.to(state().device, memory_format=torch.channels_last)
    start = {name: tensor.to("cpu", copy=True) for name, tensor in counter.state_dict().items()}
    whole, alone = max(map(len, shuffled(scenes, recipe, np.random.default_rng(0)))), state().num_processes == 1

    def train(size: int) -> Progress:
        counter.load_state_dict(start)
        counter.zero_grad()
        return _train(Objective(counter, loss, penalties), scenes, recipe, seed, title, score, checkpoint, after_step,
                      size if size < whole else None)

    def failed(words: str) -> TrainingFailed:
        advice = ("with one image at a time; lower training.crop or scale?" if alone else
                  "in one of several processes; lower training.batch_size, and raise training.accumulate as much?")
        return TrainingFailed(f"{title}: out of memory {advice} ({words})")

    return retry_with_smaller_batches(train, whole, title, failed, least=1 if alone else whole)[0]


def _train(objective: Objective, scenes: list[Scene], recipe: Recipe, seed: int, title: str, score: Score | None,
           checkpoint: Path | None, after_step: Callable[[], None] | None, micro_batch: int | None) -> Progress:
    """One attempt of `fit`, on the counter as it is or from the checkpoint."""
    accelerator, counter = make_accelerator(resolve_precision(recipe.precision), recipe.tracker), objective.counter
    steps = math.ceil(len(shuffled(scenes, recipe, np.random.default_rng(0))) / recipe.accumulate)  # of an epoch
    objective, optimizer = accelerator.prepare(objective, _optimizer(counter, recipe))
    if recipe.compile:
        counter.compile()
    if after_step is not None:
        optimizer.optimizer.register_step_post_hook(lambda *_: after_step())
    schedule = _schedule(optimizer.optimizer, recipe, steps)
    progress, snapshot = Progress(), Snapshot(counter, optimizer.optimizer, schedule, accelerator.scaler)
    if checkpoint is not None and checkpoint.is_file():
        progress = Progress(**snapshot.load(checkpoint))
    progress.micro_batch = min(filter(None, (progress.micro_batch, micro_batch)), default=None)
    kept = progress.epoch  # what the checkpoint holds
    if recipe.tracker:
        accelerator.init_trackers("crowdbench", config=recipe.model_dump())
    with Bar(total=recipe.epochs * len(scenes), initial=progress.epoch * len(scenes), desc=title, unit="img",
             disable=not accelerator.is_main_process) as bar:
        while progress.epoch < recipe.epochs:
            mean, sound = _epoch(accelerator, objective, optimizer, schedule, scenes, recipe, seed, progress, bar)
            if wrong := _wrong(counter, mean, progress.epoch * steps + sound):
                told = f" The last good state, of epoch {kept}, is in {checkpoint}." if kept else ""
                raise TrainingFailed(f"{title}: {wrong} (epoch {progress.epoch + 1}); lower training.lr?{told}")
            progress.losses.append(mean)
            progress.epoch += 1
            accelerator.log({"loss": mean, "lr": schedule.get_last_lr()[0]}, step=progress.epoch)
            if score is not None and (progress.epoch % recipe.validate_every == 0 or progress.epoch == recipe.epochs):
                _keep_best(counter, score, progress, snapshot, bar)
            due = progress.epoch % recipe.checkpoint_every == 0 or progress.epoch == recipe.epochs
            if checkpoint is not None and due:
                if accelerator.is_main_process:
                    snapshot.save(checkpoint, vars(progress))
                kept = progress.epoch
    if recipe.tracker:
        accelerator.end_training()
    accelerator.free_memory()
    snapshot.restore_best()
    counter.eval()
    return progress


def _epoch(accelerator: Accelerator, objective: nn.Module, optimizer: torch.optim.Optimizer,
           schedule: lr_scheduler.LRScheduler, scenes: list[Scene], recipe: Recipe, seed: int, progress: Progress,
           bar: Bar) -> tuple[float, int]:
    """One pass over the scenes; the mean loss per image, and the number of steps before one whose loss is not finite.

    Where there is such a step, the mean is what the first one made of it.
    """
    rank, world, epoch = accelerator.process_index, accelerator.num_processes, progress.epoch
    torch.manual_seed(hash((seed, epoch)) % 2**63)  # for layers that draw random numbers
    batches = shuffled(scenes, recipe, np.random.default_rng([seed, epoch]))
    total, sound = torch.zeros(2, device=accelerator.device)  # stay there: the loop does not wait for the device
    objective.train()
    for number, indices in enumerate(batches, start=1):
        mine = indices[rank::world] or indices[:1]  # no image left for this process: it takes part with weight 0
        weight = world / len(indices) if indices[rank::world] else 0.0
        step = number % recipe.accumulate == 0 or number == len(batches)
        size = progress.micro_batch or len(mine)
        for place in range(0, len(mine), size):
            views = [augment(scenes[i], recipe, np.random.default_rng([seed, epoch, i]))
                     for i in mine[place : place + size]]
            batch = Batch.of(views, accelerator.device)
            last = step and place + size >= len(mine)
            with nullcontext() if last else accelerator.no_sync(objective):
                losses = objective(batch)
                accelerator.backward(losses.sum() * weight / recipe.accumulate)
            summed = total + losses.detach().sum() * (weight > 0)
            total = torch.where(total.isfinite(), summed, total)
        if step:
            sound += total.isfinite()
            if recipe.clip is not None:
                accelerator.clip_grad_norm_(objective.parameters(), recipe.clip)
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
        bar.update(len(indices))
    totals, sounds = zip(*accelerator.gather(torch.stack([total, sound])[None]).tolist())
    mean = sum(totals) / len(scenes)
    bar.set_postfix(epoch=epoch + 1, loss=f"{mean:.4g}", refresh=False)
    return mean, int(min(sounds))


def _wrong(counter: "Counter", mean: float, step: int) -> str:
    """What is not finite after an epoch; nothing where all is well. step: the last one whose loss is finite."""
    if not math.isfinite(mean):
        return f"the loss is {mean} at step {step + 1}"
    if not all(weight.isfinite().all() for weight in counter.parameters()):
        return f"a weight is not finite after step {step}"
    return ""


def _keep_best(counter: "Counter", score: Score, progress: Progress, snapshot: Snapshot, bar: Bar) -> None:
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
