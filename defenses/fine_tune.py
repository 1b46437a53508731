"""Fine-tuning as in the paper, 3.3: all clean training images and 40 of another data set, same settings.

Luo, CONF-CIAP 2025. It asks for every clean original, so retraining from scratch (`retrain`) must stand beside it.
"""

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from benchmark.registry import register
from defenses.base import Defense, Knowledge, Knows
from models.base import Counter


@register
class FineTune(Defense):
    """extra: images of the other data set. epochs, lr: None is what the victim was trained with."""

    extra: NonNegativeInt = 40
    epochs: PositiveInt | None = None
    lr: PositiveFloat | None = None

    @property
    def knows(self) -> Knows:
        return Knows(clean="all", extra=self.extra)

    def apply(self, victim: Counter, knowledge: Knowledge) -> Counter:
        repaired = victim.copy()
        scenes = knowledge.clean + (knowledge.extra if self.extra else [])
        knowledge.trainer.fit(repaired, scenes, epochs=self.epochs, lr=self.lr)
        return repaired
