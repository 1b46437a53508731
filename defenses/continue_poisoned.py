"""Continued training on the poisoned set: what fine-tuning does beyond more steps. A control, not a repair."""

from pydantic import PositiveFloat, PositiveInt

from benchmark.registry import register
from defenses.base import Defense, Knowledge, Knows
from models.base import Counter


@register
class ContinuePoisoned(Defense):
    """epochs, lr: None is what the victim was trained with; set them as the defense that is compared has them."""

    knows = Knows(poisoned=True)
    epochs: PositiveInt | None = None
    lr: PositiveFloat | None = None

    def apply(self, victim: Counter, knowledge: Knowledge) -> Counter:
        trained = victim.copy()
        knowledge.trainer.fit(trained, knowledge.poisoned, epochs=self.epochs, lr=self.lr)
        return trained
