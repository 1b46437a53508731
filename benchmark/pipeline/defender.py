"""Defender sessions: the images that a defense declares, and a trainer.

A defense sees no test image. With `training.select=test`, which repeats the paper's code and is
marked in the record, the epoch that a training keeps is chosen by the errors on them.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from attacks.base import COVER, POISON
from benchmark.config.cell import Cell
from benchmark.data.augmentation import augment
from benchmark.data.batches import Batch, PackedBatch, in_order, shuffled
from benchmark.data.scene import Scene
from benchmark.pipeline.counter_files import build_initialised
from benchmark.pipeline.data_cache import DataCache
from benchmark.recipe import Recipe
from benchmark.registry import checked
from benchmark.training.loop import Progress, Score, fit
from benchmark.training.measuring import measured
from benchmark.utils.device import autocast, resolve_precision, state
from benchmark.utils.prefetch import prepared_ahead
from benchmark.utils.progress import Bar
from benchmark.utils.transfer import Awaited
from defenses.base import Knowledge, Loss, Trainer
from models.base import Counter

SEED_OFFSET = 10**6  # a defender does not know the seed of the victim's initial weights
MEASURED_TOGETHER = 8  # images
WHOLE = {"crop": None, "zoom_min": 1.0, "zoom_max": 1.0}  # the settings that show whole images


@dataclass(frozen=True)
class DefenderSession:
    """The knowledge that a defense is given, and what the record must know of its use.

    kinds: for each image of the poisoned training set 'clean', 'triggered' or 'cover': a poisoned
        copy is triggered. A cover copy is no poison, as its heads are true, and it is not clean
        either, as it carries the trigger, so that a filter is not measured on it.
    trainings: how far each of the defense's trainings got.
    """

    knowledge: Knowledge
    kinds: list[str]
    trainings: list[Progress] = field(default_factory=list)

    def reported_scores(self) -> dict[str, list[float]] | None:
        """The scores that the defense reported of its clean and poisoned images; None if none."""
        if self.knowledge.suspicion is None:
            return None
        scores: dict[str, list[float]] = {"clean": [], "triggered": []}
        for score, kind in zip(self.knowledge.suspicion, self.kinds):
            if kind in scores:
                scores[kind].append(score)
        return scores


def open_session(data: DataCache, cell: Cell, poisoned: list[Scene], score: Score | None,
                 folder: Path) -> DefenderSession:
    """The session of a cell's defense. Which images it is given follows from the cell's seed.

    The first 20 of 40 clean images are those of a defense that asks for 20.

    poisoned: the training set as the attacker left it. score: chooses the epoch of a training.
    folder: for the checkpoints of the trainings.
    """
    knows, rng = cell.defense.build().knows, np.random.default_rng([cell.settings.seed, 2])
    training, validation = data.train_of(cell)
    clean = training if knows.clean == "all" else _draw(training, knows.clean, rng)
    companion, extra = cell.data.build().companion(), []
    if knows.extra and companion:
        extra = _draw(data.train(companion, cell.settings.scale, 0.0)[0], knows.extra, rng)
    mixed = _draw(poisoned, None, rng) if knows.poisoned else []
    anonymous = [Scene(f"image {i}", s.image, s.points, s.sigma) for i, s in enumerate(mixed)]
    trainings: list[Progress] = []
    title = f"{cell.defense.name} {cell.model.name}"
    trainer = make_trainer(cell.recipe, cell.settings.seed, title,
                           partial(build_initialised, cell, SEED_OFFSET), score, folder, trainings)
    knowledge = Knowledge(knows, trainer, clean, extra, anonymous, validation)
    return DefenderSession(knowledge, [_kind(scene) for scene in mixed], trainings)


def _kind(scene: Scene) -> str:
    """The kind of an image of the poisoned training set; see `DefenderSession`."""
    ends = {POISON: "triggered", COVER: "cover"}
    return next((kind for end, kind in ends.items() if scene.id.endswith(end)), "clean")


def make_trainer(recipe: Recipe, seed: int, title: str, fresh: Callable[[], Counter],
                 score: Score | None = None, folder: Path | None = None,
                 trainings: list[Progress] | None = None) -> Trainer:
    """A defender's trainer, which holds no reference to the splits.

    recipe: the victim's. fresh: makes an untrained counter. For the others see `_TrainerMethods`.
    """
    methods = _TrainerMethods(recipe, seed, title, score, folder,
                              [] if trainings is None else trainings)
    return Trainer(methods.train, methods.batches, methods.per_image, fresh, recipe,
                   partial(autocast, methods.precision), methods.device)


@dataclass
class _TrainerMethods:
    """Methods of a defender's trainer: trainings, batches for its own loops, and measurements.

    Each training and each loop has a seed of its own, by its number.

    recipe: the victim's.
    title: names the trainings in progress bars and error messages.
    score: chooses the epoch of a training; None keeps the last one.
    folder: for checkpoints; None writes none.
    trainings: the list that each training is added to.
    """

    recipe: Recipe
    seed: int
    title: str
    score: Score | None
    folder: Path | None
    trainings: list[Progress]

    def __post_init__(self) -> None:
        self.precision, self.device = resolve_precision(self.recipe.precision), state().device
        self.numbers = count(1)  # of the trainings and loops

    def train(self, counter: Counter, scenes: list[Scene], loss: Loss | None = None,
              after_step: Callable[[], None] | None = None, **changes: Any) -> None:
        """Train a counter in place; see `defenses.parts.knowledge.Train`."""
        number, recipe = next(self.numbers), self._changed(changes)
        checkpoint = self.folder and self.folder / f"checkpoint-{number}.safetensors"
        score = None if recipe.select == "last" else self.score
        self.trainings.append(fit(counter, scenes, recipe, self.seed + 1000 * number, self.title,
                                  score, checkpoint, loss=loss, after_step=after_step))

    def batches(self, counter: Counter, scenes: list[Scene], epochs: int = 1, whole: bool = False,
                **changes: Any) -> Iterator[Batch]:
        """Augmented batches on the device; see `defenses.parts.knowledge.Batches`."""
        recipe, seed = self._changed(changes), self.seed + 1000 * next(self.numbers)
        if whole:
            recipe = recipe.model_copy(update=WHOLE)
        counter.prepare(scenes)
        counter.to(self.device)

        def chosen() -> Iterator[tuple[int, list[int]]]:
            """The epoch and the scenes of each batch."""
            for epoch in range(epochs):
                for indices in shuffled(scenes, recipe, np.random.default_rng([seed, epoch])):
                    yield epoch, indices

        def pack(chosen: tuple[int, list[int]]) -> PackedBatch:
            epoch, indices = chosen
            views = [augment(scenes[i], recipe, np.random.default_rng([seed, epoch, i]))
                     for i in indices]
            return PackedBatch.of(views, self.device)

        silent = not state().is_main_process
        with (Bar(total=epochs * len(scenes), desc=self.title, unit="img", disable=silent) as bar,
              closing(prepared_ahead(pack, chosen())) as packed):
            for batch in packed:
                yield batch.send()
                bar.update(len(batch.views))

    def per_image(self, counter: Counter, scenes: Sequence[Scene],
                  measure: Callable[[Batch], Tensor]) -> Tensor:
        """Measure every scene; see `defenses.parts.knowledge.PerImage`."""
        training, values = counter.training, {}
        counter.to(self.device).eval()

        def work(some: list[Scene]) -> Awaited:
            with torch.no_grad(), autocast(self.precision):
                return Awaited(measure(Batch.of(some, self.device)).float())

        batches = in_order(scenes, MEASURED_TOGETHER)
        for indices, results in measured(work, scenes, batches, MEASURED_TOGETHER, self.title):
            values |= dict(zip(indices, results))
        counter.train(training)
        return torch.stack([values[index] for index in range(len(scenes))])

    def _changed(self, changes: dict[str, Any]) -> Recipe:
        """The victim's recipe with other settings; a shorter training has no longer warm-up."""
        given = {key: value for key, value in changes.items() if value is not None}
        epochs = given.get("epochs", self.recipe.epochs)
        warmup = min(self.recipe.warmup, max(epochs - 1, 0))
        settings = self.recipe.model_dump() | {"warmup": warmup} | given
        return checked(Recipe, settings, f"{self.title}: training")


def _draw(scenes: list[Scene], number: int | None, rng: np.random.Generator) -> list[Scene]:
    """`number` random scenes, or all of them in random order."""
    return [scenes[i] for i in rng.permutation(len(scenes))[:number]]
