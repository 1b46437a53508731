"""The contract of a defense. Subclass `Defense`, declare what it knows, and write `apply`:

    @register
    class FineTuneFew(Defense):
        \"\"\"epochs: number of fine-tuning epochs.\"\"\"

        knows = Knows(clean=40)                  # the clean images that it is given to train on
        epochs: int = 10                         # a setting, changed by --set defense.epochs=20

        def apply(self, victim: Counter, knowledge: Knowledge) -> Counter:
            repaired = victim.copy()             # the victim itself must not change
            knowledge.trainer.fit(repaired, knowledge.clean, epochs=self.epochs)
            return repaired

A detector of triggered images subclasses `Detector` and writes `scorer`. A detector of backdoored
counters subclasses `Inspector` and writes `suspicion`. What `knowledge` offers is explained in
`defenses/parts/knowledge.py`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar
from warnings import warn

from torch import Tensor
from typing_extensions import deprecated

from benchmark.registry import Settings
from defenses.parts.knowledge import Knowledge, Knows, Loss, NotDeclared, Trainer
from models.base import Counter

__all__ = ["Defense", "Detector", "Inspector", "Knowledge", "Knows", "Loss", "NotDeclared",
           "Scorer", "Trainer"]

# From images [B, 3, H, W] in 0..1 to the suspicion of each, [B]. Higher is more suspicious.
Scorer = Callable[[Tensor], Tensor]


class Defense(Settings, ABC):
    """A defense.

    knows: the knowledge that it declares.
    repairs: whether it makes another counter of the victim.
    version: a number to raise when results change, so that stored results are not mistaken for
        new ones.
    """

    kind: ClassVar[str] = "defense"
    name: ClassVar[str]
    version: ClassVar[int] = 1
    knows: ClassVar[Knows] = Knows()
    repairs: ClassVar[bool] = True

    @abstractmethod
    def apply(self, victim: Counter, knowledge: Knowledge) -> Counter:
        """The repaired counter. The victim must not change: work on `victim.copy()`."""

    def wrap(self, counter: Counter) -> Counter:
        """The counter with the modules that the defense adds around it, if it adds any.

        A change of the input image is such a module. This method is called before the stored
        weights of a repaired counter are loaded.
        """
        return counter

    def __init_subclass__(cls, **arguments: Any) -> None:
        """Use a method `around` as `wrap`, for plugins that were written for its old name."""
        super().__init_subclass__(**arguments)
        if "around" in vars(cls) and "wrap" not in vars(cls):
            warn(f"{cls.__module__}.{cls.__name__}: the method around is now called wrap; "
                 "the old name will go in the next version", FutureWarning)
            cls.wrap = cls.around

    @deprecated("Defense.around is now Defense.wrap; the old name will go in the next version",
                category=FutureWarning)
    def around(self, counter: Counter) -> Counter:
        """The old name of `wrap`."""
        for owner in type(self).__mro__:  # a plugin's own `around` may have called this method
            if "wrap" in vars(owner) and "around" not in vars(owner):
                return owner.wrap(self, counter)
        return counter


class Detector(Defense):
    """A detector of triggered images. It repairs nothing."""

    repairs: ClassVar[bool] = False

    @abstractmethod
    def scorer(self, victim: Counter, knowledge: Knowledge) -> Scorer:
        """The function that scores images. The victim is on the device, in evaluation mode."""

    def apply(self, victim: Counter, knowledge: Knowledge) -> Counter:
        return victim


class Inspector(Defense):
    """A detector of backdoored counters. It repairs nothing."""

    repairs: ClassVar[bool] = False

    @abstractmethod
    def suspicion(self, victim: Counter, knowledge: Knowledge) -> float:
        """The score of the counter itself. A higher score means that a backdoor is more likely."""

    def apply(self, victim: Counter, knowledge: Knowledge) -> Counter:
        return victim
