"""Retraining from scratch on the clean images of fine-tuning, the control that it must beat."""

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from benchmark.registry import register
from defenses.base import Defense, Knowledge, Knows
from models.base import Counter


@register
class Retrain(Defense):
    """A new counter is trained with the victim's recipe.

    extra: number of images of the other dataset.
    epochs: number of epochs; None takes the victim's, multiplied by `times`.
    times: 2 is a training as long as those of the victim and of a repair by fine-tuning together.
    images: number of clean training images; None takes all. With extra = 0 this is the control for
        a defense that is given as many images.
    """

    version = 2  # since the initial weights are no longer those of the victim
    extra: NonNegativeInt = 40
    epochs: PositiveInt | None = None
    times: PositiveFloat = 1.0
    images: PositiveInt | None = None

    @property
    def knows(self) -> Knows:
        return Knows(clean=self.images or "all", extra=self.extra, victim=False)

    def apply(self, victim: Counter | None, knowledge: Knowledge) -> Counter:
        counter = knowledge.trainer.fresh()
        scenes = knowledge.clean + (knowledge.extra if self.extra else [])
        epochs = self.epochs or round(self.times * knowledge.trainer.recipe.epochs)
        knowledge.trainer.fit(counter, scenes, epochs=epochs)
        return counter
