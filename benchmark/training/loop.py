"""The training loop: it runs through Accelerate, resumes exactly, and knows no counter by name."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from attacks.parts.heads import call_with_heads
from benchmark.data.augmentation import augment, trained_size
from benchmark.data.batches import Batch, PackedBatch, shuffled
from benchmark.data.scene import Scene
from benchmark.recipe import Recipe
from benchmark.training.checkpoint import CheckpointWriter, Snapshot
from benchmark.training.optimizer import make_optimizer, make_schedule
from benchmark.utils.compilation import compiling
from benchmark.utils.device import accelerator as make_accelerator
from benchmark.utils.device import resolve_precision, state, tuned_convolutions
from benchmark.utils.generators import seed_generators
from benchmark.utils.memory import keep_buffers, retry_with_smaller_batches
from benchmark.utils.prefetch import prepared_ahead
from benchmark.utils.progress import Bar, log

if TYPE_CHECKING:
    from models.base import Counter

Loss = Callable[["Counter", Batch], Tensor]  # the loss of each image, [B]
Features = Callable[[Tensor], Tensor]
# The counter's features and images [B, 3, H, W] -> what is added to the loss of each image, [B].
# One with a parameter `heads` is given those of each image; see attacks/parts/heads.py.
Penalty = Callable[..., Tensor]


class CountErrors(NamedTuple):
    """Errors of a counter on some images, in people.

    mae: the mean absolute error. bias: the mean of count - truth.
    """

    mae: float
    bias: float


Score = Callable[["Counter"], CountErrors]


class TrainingFailed(Exception):
    """A training cannot go on; the message says where it stopped and why."""


class CellRefused(TrainingFailed):
    """A component cannot take the cell that it was given; the message does not name the cell."""


@dataclass
class Progress:
    """The progress of a training.

    epoch: the number of finished epochs.
    losses: the mean loss per image of each epoch.
    scores: [epoch, MAE, bias] of each epoch after which the errors were measured.
    best_epoch: the epoch with the lowest MAE; None before the first measurement.
    micro_batch: images per forward pass, where memory ran out with a whole batch; None where whole
        batches fit.
    """

    epoch: int = 0
    losses: list[float] = field(default_factory=list)
    scores: list[list[float]] = field(default_factory=list)
    best_epoch: int | None = None
    micro_batch: int | None = None

    @property
    def best(self) -> float:
        """The lowest MAE so far that is a number; infinity before the first one."""
        return min((mae for _, mae, *_ in self.scores if not math.isnan(mae)), default=math.inf)


class Objective(nn.Module):
    """A counter together with its loss, so that each training step runs one module.

    loss: used in place of the counter's own loss; None uses the counter's.
    penalties: added to the loss of each image.
    compiles: whether the counter's own loss runs compiled. The other two do not: they may read
        layers through hooks, which compiled layers need not run.
    """

    def __init__(self, counter: "Counter", loss: Loss | None, penalties: Sequence[Penalty],
                 compiles: bool = False):
        super().__init__()
        self.counter = counter
        self.loss = loss
        self.penalties = penalties
        self.compiles = compiles

    def forward(self, batch: Batch) -> Tensor:
        """The loss of each image, [B]."""
        if self.loss is not None:
            losses = self.loss(self.counter, batch)
        elif self.compiles:
            losses = self.compiled_loss(batch)
        else:
            losses = self.counter.loss(batch)
        for penalty in self.penalties:
            losses = losses + call_with_heads(penalty, self.counter.features, batch.images,
                                              heads=batch.heads)
        return losses

    def compiled_loss(self, batch: Batch) -> Tensor:
        """The loss of each image, with the counter's layers and the parts of its loss compiled."""
        with compiling() as compiled:
            losses = self.counter.loss(batch)
        if not compiled:
            self.compiles = False
            log(f"training.compile: nothing of {self.counter.name} is compiled, because its loss "
                "does not call the counter or `apply_layers`")
        return losses


def fit(counter: "Counter", scenes: list[Scene], recipe: Recipe, seed: int, title: str,
        score: Score | None = None, checkpoint: Path | None = None,
        penalties: Sequence[Penalty] = (), loss: Loss | None = None,
        after_step: Callable[[], None] | None = None) -> Progress:
    """Train a counter in place.

    scenes: the training set as the trainer sees it; poisoned scenes are trained on like any other.
    title: names the training in progress bars and error messages.
    score: measures the errors every `recipe.validate_every` epochs and after the last one. The
        weights of the epoch with the lowest MAE are kept; None keeps those of the last epoch.
    checkpoint: a file written every `recipe.checkpoint_seconds`, but not after the last epoch. If
        the file exists, the training resumes from it and ends in the same weights as an
        uninterrupted run.
    penalties: the attacker's additions to the loss, where the attacker trains the counter.
    loss: a defender's loss in place of the counter's own. If it has a method `begin_after`, this is
        called before each epoch with the number of forward passes of this process in the epochs
        before; a loss that differs from pass to pass is so the same in a resumed training.
    after_step: a defender's function, called after each step of the optimizer.

    A global batch is divided among the processes, and its loss is the mean over its images, so that
    two processes train as one does.

    When memory runs out, the training starts over, from the checkpoint if there is one and else
    from the beginning, with half as many images in each forward pass. The gradients of the parts of
    a batch are added up, so that the steps are the same up to rounding. Layers that see the images
    of a pass together, such as BatchNorm, are the exception. The final weights depend on the last
    number of images per pass, but not on when memory ran out, except when it ran out after a
    checkpoint: the epochs before the checkpoint used larger passes. A `loss` that has a state, but
    no `begin_after`, keeps it when the training starts over. Several processes cannot start over,
    because a process that has memory left waits for the others.

    Raises:
        TrainingFailed: the loss or a weight is not finite, memory runs out even with one image per
            pass, or memory runs out in one of several processes.
    """
    keep_buffers()
    if recipe.compile and loss is not None:
        log(f"{title}: training.compile compiles only a counter's own loss, and here is another")
    counter.prepare(scenes)
    counter.to(state().device, memory_format=torch.channels_last)
    initial = {name: tensor.to("cpu", copy=True) for name, tensor in counter.state_dict().items()}
    alone = state().num_processes == 1
    largest_batch = max(len(batch) for batch in shuffled(scenes, recipe, np.random.default_rng(0)))

    def attempt(images_per_pass: int) -> Progress:
        counter.load_state_dict(initial)
        counter.zero_grad()
        micro_batch = images_per_pass if images_per_pass < largest_batch else None
        objective = Objective(counter, loss, penalties, recipe.compile)
        run = TrainingRun(objective, scenes, recipe, seed, title, score, checkpoint, after_step,
                          micro_batch)
        return run.train()

    def out_of_memory(reason: str) -> TrainingFailed:
        if alone:
            advice = "with one image at a time; try a smaller training.crop or scale"
        else:
            advice = ("in one of several processes; try a lower training.batch_size, and raise "
                      "training.accumulate by the same factor")
        return TrainingFailed(f"{title}: out of memory {advice} ({reason})")

    smallest = 1 if alone else largest_batch
    progress, _ = retry_with_smaller_batches(attempt, largest_batch, title, out_of_memory, smallest)
    return progress


@dataclass
class TrainingRun:
    """One attempt at a training, from its start or from its checkpoint to the last epoch.

    scenes, recipe, seed, title, score, checkpoint, after_step: see `fit`.
    micro_batch: the most images in a forward pass; None passes whole batches.
    """

    objective: nn.Module
    scenes: list[Scene]
    recipe: Recipe
    seed: int
    title: str
    score: Score | None
    checkpoint: Path | None
    after_step: Callable[[], None] | None
    micro_batch: int | None

    def __post_init__(self) -> None:
        """Build the optimizer and the schedule, and resume from the checkpoint if there is one."""
        recipe = self.recipe
        self.counter = self.objective.counter
        self.begin_after = getattr(self.objective.loss, "begin_after", None)
        self.accelerator = make_accelerator(resolve_precision(recipe.precision), recipe.tracker)
        batches = shuffled(self.scenes, recipe, np.random.default_rng(0))
        self.one_size = len({trained_size(scene, recipe) for scene in self.scenes}) == 1
        self.steps_per_epoch = math.ceil(len(batches) / recipe.accumulate)
        self.objective, self.optimizer = self.accelerator.prepare(
            self.objective, make_optimizer(self.counter, recipe))
        inner_optimizer = self.optimizer.optimizer  # without Accelerate's wrapper
        after_step = self.after_step
        if after_step is not None:  # the hook holds no `self`, which would keep the run in memory
            inner_optimizer.register_step_post_hook(lambda *_: after_step())
        self.schedule = make_schedule(inner_optimizer, recipe, self.steps_per_epoch)
        self.snapshot = Snapshot(self.counter, inner_optimizer, self.schedule,
                                 self.accelerator.scaler)
        self.progress = Progress()
        if self.checkpoint is not None and self.checkpoint.is_file():
            self.progress = Progress(**self.snapshot.load(self.checkpoint))
            log(f"{self.title}: goes on after epoch {self.progress.epoch} of {recipe.epochs}")
        self.writer = CheckpointWriter(
            self.checkpoint if self.accelerator.is_main_process else None,
            recipe.checkpoint_seconds, self.progress.epoch)
        limits = [limit for limit in (self.progress.micro_batch, self.micro_batch) if limit]
        self.progress.micro_batch = min(limits, default=None)

    def train(self) -> Progress:
        """Train to the last epoch; with a score, then put back the weights of the best epoch."""
        recipe, progress, accelerator = self.recipe, self.progress, self.accelerator
        if recipe.tracker:
            accelerator.init_trackers("crowdbench", config=recipe.model_dump())
        with (self.writer,
              Bar(total=recipe.epochs * len(self.scenes), initial=progress.epoch * len(self.scenes),
                  desc=self.title, unit="img", disable=not accelerator.is_main_process) as bar):
            while progress.epoch < recipe.epochs:
                with tuned_convolutions(self.one_size):
                    mean_loss, finite_steps = self.train_epoch(bar)
                self.check_finite(mean_loss, finite_steps)
                progress.losses.append(mean_loss)
                progress.epoch += 1
                learning_rate = self.schedule.get_last_lr()[0]
                accelerator.log({"loss": mean_loss, "lr": learning_rate}, step=progress.epoch)
                if self.score is not None and self.is_due(recipe.validate_every):
                    self.measure_score(bar)
                # The caller stores the weights of the last epoch.
                if progress.epoch < recipe.epochs and self.writer.is_due():
                    self.writer.write(*self.snapshot.copied(vars(progress)), progress.epoch)
        if recipe.tracker:
            accelerator.end_training()
        accelerator.free_memory()
        self.snapshot.restore_best()
        self.counter.eval()
        return progress

    def train_epoch(self, bar: Bar) -> tuple[float, int]:
        """Train on each scene once.

        Returns the mean loss per image and the number of steps before the first loss that is not
        finite. If there is such a loss, the mean is not finite either: the sum is kept as that loss
        left it.
        """
        recipe, accelerator, epoch = self.recipe, self.accelerator, self.progress.epoch
        # For layers and losses that draw random numbers; a plugin may use any generator.
        seed_generators(hash((self.seed, epoch)) % 2**63)
        batches = shuffled(self.scenes, recipe, np.random.default_rng([self.seed, epoch]))
        # Both sums stay on the device, so that the loop does not wait for it at every step.
        loss_sum = torch.zeros((), device=accelerator.device)
        finite_steps = torch.zeros((), device=accelerator.device)
        self.objective.train()
        passes = [indices for batch in batches for indices in self.passes(batch)]
        if self.begin_after is not None:
            self.begin_after(epoch * len(passes))  # every epoch has as many
        with closing(prepared_ahead(self.pack, passes)) as packed:
            for number, indices in enumerate(batches, start=1):
                completes_step = number % recipe.accumulate == 0 or number == len(batches)
                first = (number - 1) // recipe.accumulate * recipe.accumulate
                added = min(recipe.accumulate, len(batches) - first)  # batches in this step
                for pass_loss in self.add_gradients(indices, packed, added, completes_step):
                    loss_sum = torch.where(loss_sum.isfinite(), loss_sum + pass_loss, loss_sum)
                if completes_step:
                    finite_steps += loss_sum.isfinite()
                    if recipe.clip is not None:
                        accelerator.clip_grad_norm_(self.objective.parameters(), recipe.clip)
                    self.optimizer.step()
                    self.optimizer.zero_grad()
                    self.schedule.step()
                bar.update(len(indices))
        of_processes = accelerator.gather(torch.stack([loss_sum, finite_steps])[None]).tolist()
        mean_loss = sum(process_sum for process_sum, _ in of_processes) / len(self.scenes)
        bar.set_postfix(epoch=epoch + 1, loss=f"{mean_loss:.4g}", refresh=False)
        return mean_loss, int(min(process_steps for _, process_steps in of_processes))

    def passes(self, indices: list[int]) -> list[list[int]]:
        """The scenes of each forward pass of this process, from those of a whole batch.

        With no image left for it, this process takes part with the first one, at weight 0.
        """
        share = indices[self.accelerator.process_index :: self.accelerator.num_processes]
        share = share or indices[:1]
        size = self.progress.micro_batch or len(share)
        return [share[start : start + size] for start in range(0, len(share), size)]

    def pack(self, indices: list[int]) -> PackedBatch:
        """The augmented views of scenes, packed for the device. A thread does so ahead of time."""
        seeds = [[self.seed, self.progress.epoch, index] for index in indices]
        views = [augment(self.scenes[index], self.recipe, np.random.default_rng(seed))
                 for index, seed in zip(indices, seeds)]
        return PackedBatch.of(views, self.accelerator.device)

    def add_gradients(self, indices: list[int], packed: Iterator[PackedBatch],
                      added: int, completes_step: bool) -> Iterator[Tensor]:
        """Add the gradients of this process's share of a batch to those of the counter.

        indices: the scenes of the whole batch, over all processes.
        packed: yields what each pass of this process needs.
        added: the number of batches whose gradients are added up before the step.
        completes_step: whether the processes exchange their gradients after the last pass.
        Yields the sum of the losses of each forward pass, without a gradient.
        """
        accelerator = self.accelerator
        takes_part = accelerator.process_index < len(indices)
        weight = accelerator.num_processes / len(indices) if takes_part else 0.0
        passes = len(self.passes(indices))
        for number in range(1, passes + 1):
            batch = next(packed).send()
            exchanges = completes_step and number == passes
            with nullcontext() if exchanges else accelerator.no_sync(self.objective):
                losses = self.objective(batch)
                accelerator.backward(losses.sum() * weight / added)
            yield losses.detach().sum() * takes_part

    def check_finite(self, mean_loss: float, finite_steps: int) -> None:
        """Raise TrainingFailed if the loss or a weight is not finite after an epoch.

        finite_steps: the number of steps of this epoch before the first loss that is not finite.
        """
        step = self.progress.epoch * self.steps_per_epoch + finite_steps
        if not math.isfinite(mean_loss):
            problem = f"the loss is {mean_loss} at step {step + 1}"
        elif not torch.stack([weight.isfinite().all() for weight in self.counter.parameters()]
                             ).all():  # the device is asked once, not for each weight
            problem = f"a weight is not finite after step {step}"
        else:
            return
        epoch = self.progress.epoch + 1
        message = f"{self.title}: {problem} (epoch {epoch}); try a lower training.lr"
        self.writer.wait()  # the message names what is on the disk
        if self.writer.epoch:
            message += (f". {self.checkpoint} holds the last good state, of epoch "
                        f"{self.writer.epoch}")
        raise TrainingFailed(message)

    def is_due(self, interval: int) -> bool:
        """Whether what is done every `interval` epochs, and after the last one, is due now."""
        epoch = self.progress.epoch
        return epoch % interval == 0 or epoch == self.recipe.epochs

    def measure_score(self, bar: Bar) -> None:
        """Measure the errors, and keep the weights if the MAE is the lowest so far."""
        progress = self.progress
        self.counter.eval()
        errors = self.score(self.counter)
        if errors.mae < progress.best:
            progress.best_epoch = progress.epoch
            self.snapshot.keep_best()
        progress.scores.append([progress.epoch, *errors])
        bar.set_postfix_str(f"{bar.postfix}, MAE={errors.mae:.3g}", refresh=False)
