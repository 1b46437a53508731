"""What a cell hands its defender: the images that the defense declares, and a trainer; no way to the test split."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from attacks.base import POISON
from benchmark.config.cell import Cell
from benchmark.data.augmentation import augment
from benchmark.data.batches import Batch, in_order, shuffled
from benchmark.data.scene import Scene
from benchmark.recipe import Recipe
from benchmark.registry import checked
from benchmark.training.loop import Progress, Score, fit
from benchmark.utils.device import autocast, resolve_precision, state
from benchmark.utils.progress import Bar
from defenses.base import Knowledge, Loss, Trainer
from models.base import Counter

BATCH = 8  # images measured at once


@dataclass(frozen=True)
class Handed:
    """The knowledge, which of its poisoned set are poisoned, and how each of the defense's trainings went."""

    knowledge: Knowledge
    poisoned: list[bool]
    trainings: list[Progress] = field(default_factory=list)

    def told(self) -> dict[str, list[float]] | None:
        """What the defense said of the poisoned set: scores of its clean and of its poisoned images."""
        if self.knowledge.suspicion is None:
            return None
        told = list(zip(self.knowledge.suspicion, self.poisoned))
        return {"clean": [score for score, poisoned in told if not poisoned],
                "triggered": [score for score, poisoned in told if poisoned]}


def hand(cell: Cell, folder: Path, splits: tuple[list[Scene], list[Scene]], extra: list[Scene],
         poisoned: list[Scene], score: Score | None, fresh: Callable[[], Counter]) -> Handed:
    """What a cell's defense may know, drawn by the cell's seed.

    splits: the clean training and the validation scenes. extra: all clean scenes of the other data set.
    poisoned: the training set as the attacker left it. score: what chooses a training's epoch.
    folder: for the checkpoints of its trainings. Of the 40 first clean images 20 are the 20 first.
    """
    knows, rng = cell.defense.build().knows, np.random.default_rng([cell.protocol.seed, 2])
    clean = splits[0] if knows.clean == "all" else _choose(splits[0], knows.clean, rng)
    extra = _choose(extra, knows.extra, rng) if knows.extra else []
    mixed = _choose(poisoned, None, rng) if knows.poisoned else []
    anonymous = [Scene(f"image {i}", s.image, s.points, s.sigma) for i, s in enumerate(mixed)]
    trainings: list[Progress] = []
    title = f"{cell.defense.name} {cell.model.name}"
    trainer = make_trainer(cell.recipe, cell.protocol.seed, title, fresh, score, folder, trainings)
    knowledge = Knowledge(knows, trainer, clean, extra, anonymous, splits[1])
    return Handed(knowledge, [scene.id.endswith(POISON) for scene in mixed], trainings)


def make_trainer(recipe: Recipe, seed: int, title: str, fresh: Callable[[], Counter], score: Score | None = None,
                 folder: Path | None = None, trainings: list[Progress] | None = None) -> Trainer:
    """A defender's trainer, which holds no way to the bench's data. Each training and each loop has a seed of its own.

    recipe: the victim's. folder: for checkpoints; none are written without. trainings: each training is added to it.
    """
    precision, device = resolve_precision(recipe.precision), state().device
    number = count(1)

    def changed(changes: dict[str, Any]) -> Recipe:
        return checked(Recipe, recipe.model_dump() | {key: value for key, value in changes.items()
                                                      if value is not None}, f"{title}: training")

    def train(counter: Counter, scenes: list[Scene], loss: Loss | None = None,
              after_step: Callable[[], None] | None = None, **changes: Any) -> None:
        place, ours = next(number), changed(changes)
        checkpoint = folder and folder / f"checkpoint-{place}.safetensors"
        went = fit(counter, scenes, ours, seed + 1000 * place, title, None if ours.select == "last" else score,
                   checkpoint, loss=loss, after_step=after_step)
        if trainings is not None:
            trainings.append(went)

    def batches(counter: Counter, scenes: list[Scene], epochs: int = 1, **changes: Any) -> Iterator[Batch]:
        ours, own = changed(changes), seed + 1000 * next(number)
        counter.prepare(scenes)
        counter.to(device)
        with Bar(total=epochs * len(scenes), desc=title, unit="img", disable=not state().is_main_process) as bar:
            for epoch in range(epochs):
                for indices in shuffled(scenes, ours, np.random.default_rng([own, epoch])):
                    views = [augment(scenes[i], ours, np.random.default_rng([own, epoch, i])) for i in indices]
                    yield Batch.of(views, device)
                    bar.update(len(indices))

    def over(counter: Counter, scenes: Sequence[Scene], measure: Callable[[Batch], Tensor]) -> Tensor:
        training, found = counter.training, {}
        counter.to(device).eval()
        for indices in in_order(scenes, BATCH):
            with torch.no_grad(), autocast(precision):
                measured = measure(Batch.of([scenes[i] for i in indices], device))
            found |= dict(zip(indices, measured.float().cpu()))
        counter.train(training)
        return torch.stack([found[index] for index in range(len(scenes))])

    return Trainer(train, batches, over, fresh, recipe, partial(autocast, precision), device)


def _choose(scenes: list[Scene], number: int | None, rng: np.random.Generator) -> list[Scene]:
    return [scenes[i] for i in rng.permutation(len(scenes))[:number]]
