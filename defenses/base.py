"""What a defense is, and what a defender may know: no more than the class declares, and never the test split."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

from benchmark.data.scene import Scene
from benchmark.registry import Settings
from models.base import Counter


class NotDeclared(Exception):
    """A defense asked for knowledge that its class does not declare."""


@dataclass(frozen=True)
class Knows:
    """What a defense declares that it needs.

    clean: clean training images of the victim's own data set, a number or 'all'.
    extra: clean images of another data set (Part A beside Part B).
    poisoned: the training set as the attacker left it, without a word on which images are poisoned.
    victim: the victim itself; a control that retrains from scratch does without.
    """

    clean: int | Literal["all"] = 0
    extra: int = 0
    poisoned: bool = False
    victim: bool = True


class Train(Protocol):
    """Train a counter in place; any setting of the victim's recipe may be given, None is what the victim had."""

    def __call__(self, counter: Counter, scenes: list[Scene], **recipe: Any) -> None: ...


@dataclass(frozen=True)
class Trainer:
    """How a defender trains: `fit` trains in place and keeps the epoch that is best on clean validation images;
    `fresh` makes an untrained counter."""

    fit: Train
    fresh: Callable[[], Counter]


class Knowledge:
    """What a defender is handed, and a count of what was used."""

    def __init__(self, knows: Knows, trainer: Trainer, clean: list[Scene], extra: list[Scene], poisoned: list[Scene]):
        self.trainer = trainer
        self._knows = knows
        self._scenes = {"clean": clean, "extra": extra, "poisoned": poisoned}
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
