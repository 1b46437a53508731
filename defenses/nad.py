"""NAD, neural attention distillation: the victim learns where a fine-tuned copy of it looks.  Li et al., ICLR 2021.

    min  log L + sum_l beta_l |A(F_l) - A(F'_l)|^2,    A(F) = S / |S|,    S = sum_c |F_c|^2,    on a few clean images

F_l: the student's features at layer l, F'_l: the teacher's. The teacher is the victim after some epochs of fine-tuning
on the same images. There the loss is a cross entropy; log L is what stands for that here (see `parts.tuning.beside`).
BackdoorBench has beta = 500, 1000, 1000 for the mean over maps of 32, 16 and 8 blocks a side, which for the sum is
0.5, 4, 16; the sum does not depend on the size of a map. The layers are what the convolutions at a half, three quarters
and the end of a counter see, in the order in which they run: for CSRNet the third pool, the second dilated convolution
and the end of the back end, for CLIP-EBC the third stage twice and the decoder.
"""

from typing import Annotated

import torch
from pydantic import Field, PositiveInt
from torch import Tensor
from torch.nn import functional as F

from benchmark.data.batches import Batch
from benchmark.registry import register
from defenses.base import Knowledge
from defenses.parts.tuning import OnFewImages, beside, convolutions, inputs
from models.base import Counter

DEPTHS = (0.5, 0.75, 1.0)
Weight = Annotated[float, Field(ge=0)]


@register
class Nad(OnFewImages):
    """images, epochs, lr: see `fine_tune_few`. teacher_epochs: of the teacher. betas: weights of the three layers."""

    teacher_epochs: PositiveInt = 10
    betas: tuple[Weight, Weight, Weight] = (0.5, 4.0, 16.0)

    def repaired(self, victim: Counter, knowledge: Knowledge, lr: float) -> Counter:
        student, teacher = victim.copy(), victim.copy()
        self.tune(teacher, knowledge, lr, epochs=self.teacher_epochs)
        names = layers(victim, knowledge)

        def loss(counter: Counter, batch: Batch) -> Tensor:
            with torch.no_grad():
                teacher.apply_layers(batch.images, teacher.density)
            losses = counter.loss(batch)
            return beside(losses, sum(beta * distance(ours[name], theirs[name])
                                      for beta, name in zip(self.betas, names)))

        with inputs(student, names) as ours, inputs(teacher, names) as theirs:
            self.tune(student, knowledge, lr, loss)
        return student


def layers(counter: Counter, knowledge: Knowledge) -> list[str]:
    """The convolutions whose inputs are compared."""
    ran = convolutions(counter, knowledge)
    return [ran[int(depth * len(ran)) - 1] for depth in DEPTHS]


def attention(features: Tensor) -> Tensor:
    """Features [B, C, h, w] -> where their energy is, a unit vector for each image: [B, h w]."""
    return F.normalize(features.float().square().sum(dim=1).flatten(1), dim=1)


def distance(ours: Tensor, theirs: Tensor) -> Tensor:
    """The squared distance of two attention maps of each image, [B]."""
    return (attention(ours) - attention(theirs)).square().sum(dim=1)
