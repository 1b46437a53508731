"""FST, feature shift tuning: learn a new head that is kept away from the victim's.

Min et al., NeurIPS 2023. All weights are trained on a few clean images:

    min  log L + alpha sum_k <w_k, v_k> / |v_k|^2    with |w_k| = |v_k|

where v_k are the weights of a convolution of the victim's head, and w_k the new ones, which are
scaled back to the norm of v_k after each step. The new head no longer reads from the features what
the victim's head read, so the features must be learned again, and clean images teach no backdoor.

Changes for counting:

* In the paper the head is one linear layer and the loss a cross entropy. log L takes the place of
  the cross entropy (see `add_to_log_loss` in defenses/parts/tuning.py).
* The paper's term is a product of weights, whose scale differs between counters, so here it is
  their cosine. The public code's alpha of 0.2 would be 0.2 |v|^2 for a cosine, and |v|^2 of such a
  head is 3.3 before any training. Measured on `tiny`: at alpha 0.2 the cosine stays at about 0.2,
  where the new head starts, and at 2 it ends below 0.
* The last 1x1 convolution of a counter holds 64 weights, too few to read other features. The head
  is therefore the deepest convolutions, of all branches, that together hold a thousand weights: in
  CSRNet also the last one of the back end, in CLIP-EBC the projection alone, in MCNN also the last
  one of each column.
* The new head starts from the victim's weights in random order (in the paper: from uniformly random
  ones), which keeps their norm and their mean. If half of the signs were reversed, a ReLU behind
  the head, as in DM-Count, might start dead.
"""

import torch
from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor, nn

from benchmark.data.batches import Batch
from benchmark.registry import register
from defenses.base import Knowledge
from defenses.parts.depth import levels
from defenses.parts.tuning import OnFewImages, add_to_log_loss
from models.base import Counter

HEAD_WEIGHTS = 1000  # the least number of weights of a head


@register
class Fst(OnFewImages):
    """The head is renewed, and all layers are trained further.

    images: number of clean images.
    epochs: number of epochs; the default is the paper's.
    lr: learning rate; None tries those of `fine_tune_few`.
    alpha: weight of the cosine with the victim's head; 0 only renews the head.
    """

    version = 3
    epochs: PositiveInt = 10
    alpha: NonNegativeFloat = 2.0

    def repaired(self, victim: Counter, knowledge: Knowledge, lr: float) -> Counter:
        repaired = victim.copy()
        layers = head(repaired)
        old_weights = [layer.weight.detach().clone() for layer in layers]
        # A generator of its own: a training that is resumed when it is already finished draws
        # nothing, and torch's generator would then give another order.
        rng = torch.Generator().manual_seed(0)
        for layer, old in zip(layers, old_weights):
            order = torch.randperm(old.numel(), generator=rng).to(old.device)
            layer.weight.data.copy_(old.flatten()[order].view_as(old))

        def loss(counter: Counter, batch: Batch) -> Tensor:
            cosine = sum((layer.weight * old).sum() / old.square().sum()
                         for layer, old in zip(layers, old_weights))
            return add_to_log_loss(counter.loss(batch), self.alpha * cosine)

        def keep_norm() -> None:
            for layer, old in zip(layers, old_weights):
                layer.weight.data.mul_(old.norm() / layer.weight.data.norm())

        self.tune(repaired, knowledge, lr, loss, keep_norm)
        return repaired


def head(counter: Counter) -> list[nn.Conv2d]:
    """The deepest convolutions, the deepest first, that together hold `HEAD_WEIGHTS`.

    Convolutions of the same depth are taken together.
    """
    layers: list[nn.Conv2d] = []
    for names in reversed(levels(counter)):
        layers += [counter.get_submodule(name) for name in names]
        if sum(layer.weight.numel() for layer in layers) >= HEAD_WEIGHTS:
            break
    return layers
