"""NAD, neural attention distillation: the victim learns the attention of a fine-tuned copy.

Li et al., ICLR 2021. On a few clean images, the student, a copy of the victim, minimises

    min  log L + sum_l beta_l |A(F_l) - A(F'_l)|^2,    A(F) = S / |S|,    S = sum_c |F_c|^2

where F_l are the student's features at layer l, and F'_l those of the teacher: the victim after
some epochs of fine-tuning on the same images.

Changes for counting: in the paper the loss is a cross entropy, and log L takes its place (see
`add_to_log_loss` in defenses/parts/tuning.py). The authors set beta = 500, 1000, 1000 for the mean
over the maps of their WideResNet, which have 32, 16 and 8 blocks a side; BackdoorBench keeps these
numbers for the smaller maps of its ResNet. For the sum over a map, which does not depend on its
size, they are 0.5, 4 and 16.

The features are the inputs of the convolutions at a half, three quarters and the end of the depth
of a counter (see defenses/parts/depth.py). In CSRNet those are inputs of convolution 4_2 of VGG,
the third dilated convolution and the output. Where several branches have convolutions of that
depth, as the columns of MCNN do, the term is the mean over the branches.
"""

from typing import Annotated

import torch
from pydantic import Field, PositiveInt
from torch import Tensor
from torch.nn import functional as F

from benchmark.data.batches import Batch
from benchmark.registry import register
from defenses.base import Knowledge
from defenses.parts.depth import levels
from defenses.parts.tuning import OnFewImages, add_to_log_loss, inputs
from models.base import Counter

DEPTHS = (0.5, 0.75, 1.0)
Weight = Annotated[float, Field(ge=0)]


@register
class Nad(OnFewImages):
    """A teacher is fine-tuned first; then the student is, with the attention term.

    images: number of clean images.
    epochs: number of epochs of the student.
    lr: learning rate of both; None tries those of `fine_tune_few`.
    teacher_epochs: number of epochs of the teacher.
    betas: weights of the three layers.
    """

    version = 2
    teacher_epochs: PositiveInt = 10
    betas: tuple[Weight, Weight, Weight] = (0.5, 4.0, 16.0)

    def repaired(self, victim: Counter, knowledge: Knowledge, lr: float) -> Counter:
        student = victim.copy()
        teacher = victim.copy()
        self.tune(teacher, knowledge, lr, epochs=self.teacher_epochs)
        layers = compared_layers(victim)
        names = [name for layer in layers for name in layer]
        with inputs(student, names) as student_features, inputs(teacher, names) as teacher_features:
            def loss(counter: Counter, batch: Batch) -> Tensor:
                with torch.no_grad():
                    teacher.apply_layers(batch.images, teacher.density)
                losses = counter.loss(batch)
                term = torch.zeros_like(losses)
                for beta, layer in zip(self.betas, layers):
                    for name in layer:
                        apart = distance(student_features[name], teacher_features[name])
                        term = term + beta / len(layer) * apart
                return add_to_log_loss(losses, term)

            self.tune(student, knowledge, lr, loss)
        return student


def compared_layers(counter: Counter) -> list[list[str]]:
    """The names of the convolutions whose inputs are compared: for each of `DEPTHS` its branches.

    Raises UserError where the counter has no convolution that reads feature maps.
    """
    found = levels(counter)
    return [found[max(int(depth * len(found)) - 1, 0)] for depth in DEPTHS]


def attention(features: Tensor) -> Tensor:
    """The attention map of each image, as a unit vector: [B, C, h, w] -> [B, h w]."""
    return F.normalize(features.float().square().sum(dim=1).flatten(1), dim=1)


def distance(student_features: Tensor, teacher_features: Tensor) -> Tensor:
    """The squared distance of the attention maps of each image, [B]."""
    return (attention(student_features) - attention(teacher_features)).square().sum(dim=1)
