"""The contract of a defense. To write one, subclass `Defense`, declare what it knows, and write `apply`:

    @register
    class FineTuneFew(Defense):
        \"\"\"epochs: number of fine-tuning epochs.\"\"\"

        knows = Knows(clean=40)                  # it is given 40 clean images, and nothing else
        epochs: int = 10                         # a setting, changed by --set defense.epochs=20

        def apply(self, victim: Counter, knowledge: Knowledge) -> Counter:
            repaired = victim.copy()             # the victim itself must not change
            knowledge.trainer.fit(repaired, knowledge.clean, epochs=self.epochs)
            return repaired

A detector of triggered images subclasses `Detector` and writes `scorer`. A detector of backdoored counters subclasses
`Inspector` and writes `suspicion`. What `knowledge` offers is explained in `defenses/parts/knowledge.py`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar
from warnings import warn

from torch import Tensor
from typing_extensions import deprecated

from benchmark.registry import Settings
from defenses.parts.knowledge import Knowledge, Knows, Loss, NotDeclared, Trainer
from models.base import Counter

__all__ = ["Defense", "Detector", "Inspector", "Knowledge", "Knows", "Loss", "NotDeclared", "Scorer", "Trainer"]

Scorer = Callable[[Tensor], Tensor]  # images [B, 3, H, W] in 0..1 -> the suspicion of each, [B]; higher is more


class Defense(Settings, ABC):
    """A defense.

    knows: the knowledge that it declares.
    repairs: whether it makes another counter of the victim.
    version: a number to raise when results change, so that stored results are not mistaken for new ones.
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
        """The counter with the modules that the defense adds around it, such as a change of the input image.

        It is called before the stored weights of a repaired counter are loaded. Most defenses add nothing.
        """
        if type(self).around is not Defense.around:
            warn(f"defense {self.name}: the method around is now called wrap; the old name will go in the next version",
                 FutureWarning, stacklevel=2)
            return self.around(counter)
        return counter

    @deprecated("around is now wrap; the old name will go in the next version", category=FutureWarning)
    def around(self, counter: Counter) -> Counter:
        """The old name of `wrap`."""
        return self.wrap(counter)


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
