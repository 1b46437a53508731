"""Distillation: a fresh student learns the victim's density maps of clean images.  After Hinton et al., 2015.

    min  sum over the blocks of (student(x) - victim(x))^2,    x clean and augmented

No label is used: the victim's own maps are the truth, and the student sees no trigger. There the student matches
softened class probabilities; a density map is soft as it is. A counter that needs something of its training set, as
CLIP-EBC its last anchor, still reads it there. A cell's fresh counter starts from the weights that its victim started
from; a student from other weights may take over less of the victim.
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
    """images: clean training images; None is all of them. epochs: None is what the victim was trained with."""

    images: PositiveInt | None = None
    epochs: PositiveInt | None = None

    @property
    def knows(self) -> Knows:
        return Knows(clean=self.images or "all")

    def apply(self, victim: Counter, knowledge: Knowledge) -> Counter:
        student, teacher = knowledge.trainer.fresh(), victim.copy().eval()

        def loss(counter: Counter, batch: Batch) -> Tensor:
            with torch.no_grad():
                truth = teacher(batch.images).float()
            return (counter(batch.images).float() - truth).square().sum(dim=(1, 2, 3))

        knowledge.trainer.fit(student, knowledge.clean, loss=loss, epochs=self.epochs)
        return student
