"""FST, feature shift tuning: a new head that is kept away from the victim's.  Min et al., NeurIPS 2023.

    min  log L + alpha sum_k <w_k, v_k> / |v_k|^2    with |w_k| = |v_k|    over all weights, on a few clean images

v_k: the weights of a convolution of the victim's head; w_k: ours, put back to that norm after each step. What the new
head no longer reads of the features, the features must be learned anew for, and clean images teach no backdoor.
There the head is one linear layer, and the loss a cross entropy; log L is what stands for that here (see
`parts.tuning.beside`). A product of weights has a scale of its own in every counter, so ours is their cosine. The
code's alpha, 0.2, is of the product: of a cosine it would be 0.2 |v|^2, and |v|^2 of such a head is 3.3 before any
training. Measured on `tiny`: at 0.2 the cosine stays where the new head starts, about .2; at 2 it ends below 0. A
counter's last 1x1 holds 64 weights, too few to read other features by. So the head is the last convolutions to run that
together hold a thousand: in CSRNet also the last of the back end, in CLIP-EBC the projection alone. They start from the
victim's weights in random order (there: uniformly random), which keeps their norm and their mean: with half of the
signs turned, a ReLU behind the head, as DM-Count has one, may start dead.
"""

import torch
from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor, nn

from benchmark.data.batches import Batch
from benchmark.registry import register
from defenses.base import Knowledge
from defenses.parts.tuning import OnFewImages, beside, convolutions
from models.base import Counter

WEIGHTS = 1000  # that a head holds at least


@register
class Fst(OnFewImages):
    """images, lr: see `fine_tune_few`. epochs: the original's. alpha: weight of the cosine; 0 only renews the head."""

    version = 2
    epochs: PositiveInt = 10
    alpha: NonNegativeFloat = 2.0

    def repaired(self, victim: Counter, knowledge: Knowledge, lr: float) -> Counter:
        repaired = victim.copy()
        layers = head(repaired, knowledge)
        theirs = [layer.weight.detach().clone() for layer in layers]
        rng = torch.Generator().manual_seed(0)  # its own: a training that is found finished has drawn nothing
        for layer, weight in zip(layers, theirs):
            shuffled = weight.flatten()[torch.randperm(weight.numel(), generator=rng).to(weight.device)]
            layer.weight.data.copy_(shuffled.view_as(weight))

        def loss(counter: Counter, batch: Batch) -> Tensor:
            alike = sum((layer.weight * weight).sum() / weight.square().sum() for layer, weight in zip(layers, theirs))
            return beside(counter.loss(batch), self.alpha * alike)

        def keep_norm() -> None:
            for layer, weight in zip(layers, theirs):
                layer.weight.data.mul_(weight.norm() / layer.weight.data.norm())

        self.tune(repaired, knowledge, lr, loss, keep_norm)
        return repaired


def head(counter: Counter, knowledge: Knowledge) -> list[nn.Conv2d]:
    """The last convolutions to run that together hold `WEIGHTS` weights."""
    layers: list[nn.Conv2d] = []
    for name in reversed(convolutions(counter, knowledge)):
        layers.append(counter.get_submodule(name))
        if sum(layer.weight.numel() for layer in layers) >= WEIGHTS:
            break
    return layers
