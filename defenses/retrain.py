"""Retraining from scratch on the clean images that fine-tuning is given: the control that fine-tuning must beat."""

from pydantic import NonNegativeInt, PositiveInt

from benchmark.registry import register
from defenses.base import Defense, Knowledge, Knows
from models.base import Counter


@register
class Retrain(Defense):
    """extra: images of the other data set. epochs: None is what the victim was trained with.

    images: clean training images; None is all. With extra = 0, the control of a defense that is given that many.
    """

    version = 2  # its initial weights are no longer those of the victim
    extra: NonNegativeInt = 40
    epochs: PositiveInt | None = None
    images: PositiveInt | None = None

    @property
    def knows(self) -> Knows:
        return Knows(clean=self.images or "all", extra=self.extra, victim=False)

    def apply(self, victim: Counter | None, knowledge: Knowledge) -> Counter:
        fresh = knowledge.trainer.fresh()
        knowledge.trainer.fit(fresh, knowledge.clean + (knowledge.extra if self.extra else []), epochs=self.epochs)
        return fresh
