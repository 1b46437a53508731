"""BNP: prune channels whose BatchNorm statistics differ on clean images. Zheng et al., 2022.

Zheng, Tang, Li, Liu, "Pre-activation distributions expose backdoor neurons", NeurIPS 2022. A
BatchNorm keeps the mean m and the variance v that its input had in the training, where a share of
the images carried the trigger. With m_c and v_c, those of clean images, the score of a channel is
the divergence between the two normal distributions,

    KL = log(sqrt(v / v_c)) + (v_c + (m_c - m)^2) / (2 v) - 1 / 2

and the channels with KL > mean + u std over their layer are pruned. Counting needs no change,
because the method uses no label.

The code of BackdoorBench leaves out the square root. It takes u = 3, without looking at any image;
here it is tried beside smaller and larger values, and clean validation images choose among them, as
for `clp`. A counter without BatchNorm, such as CSRNet, holds no statistics of its training: nothing
is pruned, and the record says that the repair changed nothing.
"""

import torch
from pydantic import Field
from torch import Tensor

from benchmark.registry import register
from defenses.base import Defense, Knowledge, Knows
from defenses.parts.moments import input_moments
from defenses.parts.pruning import Layer, layers_of, outlier_candidates
from defenses.parts.strength import strongest
from models.base import Counter

U = (5.0, 4.0, 3.0, 2.0, 1.5, 1.0)
SMALLEST = 1e-12  # a variance; keeps the divergence of a channel that never changes finite


@register
class BNP(Defense):
    """Channels whose statistics on clean images are unusual are pruned.

    u: how many standard deviations above the mean of its layer a channel is pruned. None tries 5,
        4, 3, 2, 1.5 and 1, and takes the smallest one within the budget.
    images: number of clean images.
    """

    u: float | None = Field(None, ge=0)
    images: int = Field(40, ge=2)

    @property
    def knows(self) -> Knows:
        return Knows(clean=self.images, validation=self.u is None)

    def apply(self, victim: Counter, knowledge: Knowledge) -> Counter:
        values = U if self.u is None else (self.u,)
        scores = divergences(victim.copy(), knowledge)
        if not scores:
            values = values[:1]  # all of them would prune nothing
        return strongest(outlier_candidates(victim, scores, values), knowledge)


def divergences(counter: Counter, knowledge: Knowledge) -> dict[Layer, Tensor]:
    """The score of each channel of each layer with a BatchNorm, float64 [C] each, on the CPU.

    counter: goes to the device, and all its modules take the mode of the counter itself.
    """
    layers = {layer: layer.norm for layer in layers_of(counter) if layer.norm is not None}
    if not layers:
        return {}
    clean = input_moments(counter, list(layers.values()), knowledge, torch.float64)
    scores: dict[Layer, Tensor] = {}
    for (layer, name), (mean, variance) in zip(layers.items(), clean):
        norm = counter.get_submodule(name)
        scores[layer] = divergence(mean, variance.clamp(min=SMALLEST),
                                   norm.running_mean.double().cpu(),
                                   norm.running_var.double().cpu().clamp(min=SMALLEST))
    return scores


def divergence(clean_mean: Tensor, clean_variance: Tensor, mean: Tensor,
               variance: Tensor) -> Tensor:
    """KL of the normal distribution of clean inputs from that of the training, [C]."""
    return ((variance / clean_variance).log() / 2
            + (clean_variance + (clean_mean - mean).square()) / (2 * variance) - 1 / 2)
