"""The knowledge of a defender: the images that a defense declares and a trainer, no test images."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal, NoReturn, Protocol

import torch
from torch import Tensor
from typing_extensions import deprecated

from benchmark.data.batches import Batch
from benchmark.data.scene import Scene
from benchmark.recipe import Recipe
from benchmark.strengths import StrengthChoice, StrengthTrial
from models.base import Counter

Loss = Callable[[Counter, Batch], Tensor]  # the loss of each image, [B]


class NotDeclared(Exception):
    """A defense asked for knowledge that its class does not declare."""


@dataclass(frozen=True)
class Knows:
    """The knowledge that a defense declares.

    clean: the number of clean training images of the victim's own dataset, or 'all'.
    extra: the number of clean images of another dataset (Part A beside Part B).
    poisoned: the training set as the attacker left it, without the information which images are
        poisoned.
    victim: the victim itself. A defense that trains from scratch does without it.
    validation: the defense chooses something by the error on the clean validation images. The epoch
        that a training keeps is chosen on them whether or not this is declared, except with
        `training.select=test`, which chooses it on the test images, as the paper's code does.
    """

    clean: int | Literal["all"] = 0
    extra: int = 0
    poisoned: bool = False
    victim: bool = True
    validation: bool = False


class Train(Protocol):
    """Train a counter in place and keep the epoch that is best on the clean validation images.

    loss: None is the counter's own loss.
    after_step: called after every step of the optimizer, for instance to set pruned weights back
        to 0.
    recipe: any setting of the victim's recipe. None keeps the victim's value.
    """

    def __call__(self, counter: Counter, scenes: list[Scene], loss: Loss | None = None,
                 after_step: Callable[[], None] | None = None, **recipe: Any) -> None: ...


class Batches(Protocol):
    """Augmented batches on the device, for a defense that writes its own training loop.

    whole: whether each view shows its whole image, also where the recipe trains on crops. A change
        that fits itself to the size of what it is given, as a trigger does, needs whole images.
    recipe: any setting of the victim's recipe. None keeps the victim's value.
    """

    def __call__(self, counter: Counter, scenes: list[Scene], epochs: int = 1,
                 whole: bool = False, **recipe: Any) -> Iterator[Batch]: ...


class PerImage(Protocol):
    """Measure every scene without augmentation, in evaluation mode and without gradients.

    measure: a function from a batch to one value for each of its images, [B, ...]. When memory
        runs out, it is called again with smaller batches.
    Returns the values in the order of the scenes, [N, ...], on the CPU.
    """

    def __call__(self, counter: Counter, scenes: Sequence[Scene],
                 measure: Callable[[Batch], Tensor]) -> Tensor: ...


@dataclass(frozen=True)
class Trainer:
    """The means by which a defender trains and measures counters.

    fresh: makes an untrained counter of the victim's kind. Each call seeds torch's global generator
        anew, and so returns a counter with the same initial weights.
    recipe: the recipe that the victim was trained with.
    autocast: a context manager that sets the precision for a defense's own training loop.
    """

    fit: Train
    batches: Batches
    per_image: PerImage
    fresh: Callable[[], Counter]
    recipe: Recipe
    autocast: Callable[[], AbstractContextManager]
    device: torch.device

    @property
    @deprecated("trainer.over is now trainer.per_image; "
                "the old name will go in the next version", category=FutureWarning)
    def over(self) -> PerImage:
        """The old name of `per_image`."""
        return self.per_image


class Knowledge:
    """The knowledge that a defender is given. It keeps account of what was used, for the record."""

    def __init__(self, knows: Knows, trainer: Trainer, clean: list[Scene], extra: list[Scene],
                 poisoned: list[Scene], validation: list[Scene]):
        self.trainer = trainer
        self.suspicion: list[float] | None = None
        self.strengths: list[StrengthChoice] = []
        self._knows = knows
        self._scenes = {"clean": clean, "extra": extra, "poisoned": poisoned,
                        "validation": validation}
        self._used: set[str] = set()

    @property
    def clean(self) -> list[Scene]:
        """Clean training images of the victim's dataset. Raises NotDeclared."""
        return self._hand_out("clean")

    @property
    def extra(self) -> list[Scene]:
        """Clean images of another dataset; empty where there is no other. Raises NotDeclared."""
        return self._hand_out("extra")

    @property
    def poisoned(self) -> list[Scene]:
        """The poisoned training set in random order, poisoned images among the others.

        Raises NotDeclared.
        """
        return self._hand_out("poisoned")

    @property
    def test(self) -> NoReturn:
        """No defense is given the test split. Raises NotDeclared."""
        raise NotDeclared("no defense is given the test split")

    def error(self, counter: Counter) -> float:
        """The counter's MAE on the clean validation images, in people. Raises NotDeclared."""
        scenes = self._hand_out("validation")
        truth = torch.tensor([float(scene.count) for scene in scenes])
        counts = self.trainer.per_image(counter, scenes, lambda batch: counter.count(batch.images))
        return float((counts - truth).abs().mean())

    def report_scores(self, scores: Sequence[float]) -> None:
        """Report how suspicious each image of `poisoned` is, in the order of `poisoned`.

        A higher score is more suspicious. The scores are evaluated as a detector of poisoned
        images; they change nothing.

        Raises:
            ValueError: the number of scores is not the number of images.
        """
        if len(scores) != len(self.poisoned):
            raise ValueError(f"expected a score for each of {len(self.poisoned)} images, "
                             f"got {len(scores)}")
        self.suspicion = [float(score) for score in scores]

    def report_strengths(self, tried: list[StrengthTrial], kept: int) -> None:
        """Report the strengths that a repair tried and the place of the one that it kept.

        They stand in the record. See `strongest` in defenses/parts/strength.py, which reports them.
        A repair that chooses twice, for instance what to prune and how to tune, reports twice.
        """
        self.strengths.append(StrengthChoice(tried=tried, kept=kept))

    @deprecated("knowledge.suspect is now knowledge.report_scores; "
                "the old name will go in the next version", category=FutureWarning)
    def suspect(self, scores: Sequence[float]) -> None:
        """The old name of `report_scores`."""
        self.report_scores(scores)

    def used(self) -> dict[str, Any]:
        """The number of images of each sort that were given to the defense, for the record."""
        return {sort: len(scenes) if sort in self._used else 0
                for sort, scenes in self._scenes.items()}

    def _hand_out(self, sort: str) -> list[Scene]:
        if not getattr(self._knows, sort):
            raise NotDeclared(f"this defense does not declare that it knows '{sort}' images")
        self._used.add(sort)
        return list(self._scenes[sort])  # a new list, which the defense may change
