"""Distillation: a new counter learns the victim's maps of clean images.  After Hinton et al., 2015.

    min  sum over the blocks of (student(x) - victim(x))^2,    x clean and augmented

The student uses no label and sees no trigger: the victim's own maps are its truth. Hinton et al.
match softened class probabilities; a density map needs no softening. A counter that reads something
from its training set, as CLIP-EBC its last anchor, still reads it from the labels. The initial
weights are drawn with another seed than the victim's; a student that shared the victim's initial
weights might take over more of it.
"""

import torch
from pydantic import PositiveInt
from torch import Tensor

from benchmark.data.batches import Batch
from benchmark.registry import register
from defenses.base import Defense, Knowledge, Knows
from models.base import Counter


@register
class Distillation(Defense):
    """The student is trained from scratch with the victim's recipe.

    images: number of clean training images; None takes all.
    epochs: number of epochs; None takes the victim's.
    """

    images: PositiveInt | None = None
    epochs: PositiveInt | None = None

    @property
    def knows(self) -> Knows:
        return Knows(clean=self.images or "all")

    def apply(self, victim: Counter, knowledge: Knowledge) -> Counter:
        student = knowledge.trainer.fresh()
        teacher = victim.copy().eval()

        def loss(counter: Counter, batch: Batch) -> Tensor:
            with torch.no_grad():
                truth = teacher(batch.images).float()
            return (counter(batch.images).float() - truth).square().sum(dim=(1, 2, 3))

        knowledge.trainer.fit(student, knowledge.clean, loss=loss, epochs=self.epochs)
        return student
