"""Fine-tuning as in the paper, 3.3: all clean training images and 40 images of another dataset.

Luo, CONF-CIAP 2025. The settings of the training are those of the victim. Because this defense
needs the clean original of every training image, its results should be compared with those of
retraining from scratch on the same images (`retrain`).
"""

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from benchmark.registry import register
from defenses.base import Defense, Knowledge, Knows
from models.base import Counter


@register
class FineTune(Defense):
    """The victim is trained further on clean images.

    extra: number of images of the other dataset.
    epochs: number of epochs; None takes the victim's.
    lr: learning rate; None takes the victim's.
    """

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
