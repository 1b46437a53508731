"""What a defense is, and what a defender may know: no more than the class declares, and never the test split."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NoReturn, Protocol

import torch
from torch import Tensor

from benchmark.data.batches import Batch
from benchmark.data.scene import Scene
from benchmark.recipe import Recipe
from benchmark.registry import Settings
from models.base import Counter

Loss = Callable[[Counter, Batch], Tensor]  # of each image, [B]
Scorer = Callable[[Tensor], Tensor]  # images [B, 3, H, W] in 0..1 -> how suspicious each is, [B]; higher is more


class NotDeclared(Exception):
    """A defense asked for knowledge that its class does not declare."""


@dataclass(frozen=True)
class Knows:
    """What a defense declares that it needs.

    clean: clean training images of the victim's own data set, a number or 'all'.
    extra: clean images of another data set (Part A beside Part B).
    poisoned: the training set as the attacker left it, without a word on which images are poisoned.
    victim: the victim itself; a defense that trains from scratch does without.
    validation: it chooses something by the error on the clean validation images. Which epoch of a training is kept is
        chosen on them anyway.
    """

    clean: int | Literal["all"] = 0
    extra: int = 0
    poisoned: bool = False
    victim: bool = True
    validation: bool = False


class Train(Protocol):
    """Train a counter in place and keep the epoch that is best on clean validation images.

    loss: None is the counter's own. after_step: called after every step of the optimizer, for instance to put pruned
    weights back to 0. recipe: any setting of the victim's recipe; None is what the victim had.
    """

    def __call__(self, counter: Counter, scenes: list[Scene], loss: Loss | None = None,
                 after_step: Callable[[], None] | None = None, **recipe: Any) -> None: ...


class Batches(Protocol):
    """An epoch or several of augmented batches on the device, for a defense with a loop of its own."""

    def __call__(self, counter: Counter, scenes: list[Scene], epochs: int = 1, **recipe: Any) -> Iterator[Batch]: ...


class Over(Protocol):
    """What `measure` makes of each scene as it is, in evaluation mode and without gradients: [N, ...] on the CPU.

    measure: a batch -> a value for each of its images, [B, ...].
    """

    def __call__(self, counter: Counter, scenes: Sequence[Scene], measure: Callable[[Batch], Tensor]) -> Tensor: ...


@dataclass(frozen=True)
class Trainer:
    """How a defender trains and measures.

    recipe: what the victim was trained with. fresh: makes an untrained counter. autocast: the precision at which to
    count in a loop of one's own.
    """

    fit: Train
    batches: Batches
    over: Over
    fresh: Callable[[], Counter]
    recipe: Recipe
    autocast: Callable[[], AbstractContextManager]
    device: torch.device


class Knowledge:
    """What a defender is handed, and a count of what was used."""

    def __init__(self, knows: Knows, trainer: Trainer, clean: list[Scene], extra: list[Scene], poisoned: list[Scene],
                 validation: list[Scene]):
        self.trainer = trainer
        self.suspicion: list[float] | None = None
        self._knows = knows
        self._scenes = {"clean": clean, "extra": extra, "poisoned": poisoned, "validation": validation}
        self._used: set[str] = set()

    @property
    def clean(self) -> list[Scene]:
        """Clean training images of the victim's data set. Raises NotDeclared."""
        return self._hand_out("clean")

    @property
    def extra(self) -> list[Scene]:
        """Clean images of another data set; empty where there is none. Raises NotDeclared."""
        return self._hand_out("extra")

    @property
    def poisoned(self) -> list[Scene]:
        """The poisoned training set, stamped images among the others, in no telling order. Raises NotDeclared."""
        return self._hand_out("poisoned")

    @property
    def test(self) -> NoReturn:
        """Nobody is handed the test split. Raises NotDeclared."""
        raise NotDeclared("no defense is handed the test split")

    def error(self, counter: Counter) -> float:
        """The counter's mean absolute error on the clean validation images, in people. Raises NotDeclared."""
        scenes = self._hand_out("validation")
        truth = torch.tensor([float(scene.count) for scene in scenes])
        counts = self.trainer.over(counter, scenes, lambda batch: counter.count(batch.images))
        return float((counts - truth).abs().mean())

    def suspect(self, scores: Sequence[float]) -> None:
        """Tell how suspicious each image of `poisoned` is, in its order; higher is more. It is measured, not used.

        Raises:
            ValueError: another number of scores than of images.
        """
        if len(scores) != len(self.poisoned):
            raise ValueError(f"expected a score for each of {len(self.poisoned)} images, got {len(scores)}")
        self.suspicion = [float(score) for score in scores]

    def used(self) -> dict[str, Any]:
        """How many images of each sort were handed out, for the record."""
        return {sort: len(scenes) if sort in self._used else 0 for sort, scenes in self._scenes.items()}

    def _hand_out(self, sort: str) -> list[Scene]:
        if not getattr(self._knows, sort):
            raise NotDeclared(f"this defense does not declare that it knows '{sort}' images")
        self._used.add(sort)
        return list(self._scenes[sort])  # theirs to change


class Defense(Settings, ABC):
    """A defense. `knows` is what it declares."""

    kind: ClassVar[str] = "defense"
    name: ClassVar[str]
    version: ClassVar[int] = 1  # raise it when results change, so that stored ones are not taken for new
    knows: ClassVar[Knows] = Knows()

    @abstractmethod
    def apply(self, victim: Counter, knowledge: Knowledge) -> Counter:
        """A repaired counter. The victim is left as it is: work on `victim.copy()`."""

    def around(self, counter: Counter) -> Counter:
        """What is built around a stored counter before its weights are loaded; most defenses add no part to one."""
        return counter


class Detector(Defense):
    """A detector of triggered images. It repairs nothing."""

    @abstractmethod
    def scorer(self, victim: Counter, knowledge: Knowledge) -> Scorer:
        """What says how suspicious images are. The victim is on the device, in evaluation mode."""

    def apply(self, victim: Counter, knowledge: Knowledge) -> Counter:
        return victim


class Inspector(Defense):
    """A detector of backdoored counters. It repairs nothing."""

    @abstractmethod
    def suspicion(self, victim: Counter, knowledge: Knowledge) -> float:
        """How likely the victim has a backdoor; higher is more."""

    def apply(self, victim: Counter, knowledge: Knowledge) -> Counter:
        return victim
