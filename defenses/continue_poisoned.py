"""Continued training on the poisoned set: a control for what fine-tuning does beyond more steps.

It is not meant to repair the victim. Set `epochs` and `lr` as in the defense that it is compared
with.
"""

from pydantic import PositiveFloat, PositiveInt

from benchmark.registry import register
from defenses.base import Defense, Knowledge, Knows
from models.base import Counter


@register
class ContinuePoisoned(Defense):
    """The victim is trained further on the set that it was trained on.

    epochs: number of epochs; None takes the victim's.
    lr: learning rate; None takes the victim's.
    """

    knows = Knows(poisoned=True)
    epochs: PositiveInt | None = None
    lr: PositiveFloat | None = None

    def apply(self, victim: Counter, knowledge: Knowledge) -> Counter:
        trained = victim.copy()
        knowledge.trainer.fit(trained, knowledge.poisoned, epochs=self.epochs, lr=self.lr)
        return trained
