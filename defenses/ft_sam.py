"""FT-SAM: fine-tune on a few clean images towards flat minima of the loss.  Zhu et al., ICCV 2023.

Neurons of a backdoor have large weights, and a flat minimum requires small ones. Each step descends
by the gradient at the worst of the neighbouring weights (SAM, Foret et al., ICLR 2021), and the
distance to a neighbour is relative to each weight (ASAM, Kwon et al., ICML 2021):

    e = rho T^2 g / |T g|,    T = |w|,    g = grad L(w),    step along -grad L(w + e)

e does not depend on the unit of L, because g is divided by a norm. But a squared error has no
bound, where a cross entropy grows slowly: measured on `tiny`, the clean loss at w + e is some 200
times that at w for BackdoorBench's rho of 2, and less than twice that at w for a rho of 0.1. For
this reason 0.1, 0.5 and 2 are all tried with each learning rate. A higher rate is a stronger
repair, and at the same rate a larger rho is; see defenses/parts/strength.py. Images, epochs and
learning rates are those of `fine_tune_few` (in the paper: 5% of the training images and 100
epochs).
"""

from dataclasses import replace
from functools import partial
from itertools import product

import torch
from pydantic import PositiveFloat
from torch import Tensor
from torch.func import functional_call

from benchmark.data.batches import Batch
from benchmark.registry import register
from benchmark.training.loop import Objective
from defenses.base import Knowledge, Knows
from defenses.parts.strength import Candidate
from defenses.parts.tuning import OnFewImages
from models.base import Counter

RHOS = (0.1, 0.5, 2.0)


@register
class FtSam(OnFewImages):
    """All layers of the victim are trained further.

    images: number of clean images.
    epochs: number of epochs.
    lr: learning rate; None tries those of `fine_tune_few`.
    rho: the Euclidean norm of the relative change of all weights together; None tries 0.1, 0.5 and
        2.
    """

    version = 2
    rho: PositiveFloat | None = None

    @property
    def knows(self) -> Knows:
        return replace(super().knows, validation=self.rho is None or self.lr is None)

    def candidates(self, victim: Counter, knowledge: Knowledge) -> list[Candidate]:
        """Repairs at each learning rate and rho, ordered by the rate and then by rho."""
        rhos = RHOS if self.rho is None else (self.rho,)
        return [Candidate({"lr": lr, "rho": rho},
                          partial(self.repaired, victim, knowledge, lr, rho))
                for lr, rho in product(self.rates(knowledge), rhos)]

    def repaired(self, victim: Counter, knowledge: Knowledge, lr: float,
                 rho: float = RHOS[-1]) -> Counter:
        """A copy of the victim, tuned at one learning rate and one rho; BackdoorBench's is 2."""
        repaired = victim.copy()

        def loss(counter: Counter, batch: Batch) -> Tensor:
            return worst_nearby(counter, batch, rho)

        self.tune(repaired, knowledge, lr, loss=loss)
        return repaired


def worst_nearby(counter: Counter, batch: Batch, rho: float) -> Tensor:
    """The counter's losses at w + e, [B]. Their gradient is that of SAM, because e is constant."""
    objective = Objective(counter, None, ())
    weights = {name: weight for name, weight in objective.named_parameters()
               if weight.requires_grad}
    gradients = torch.autograd.grad(objective(batch).mean(), list(weights.values()),
                                    materialize_grads=True)
    scaled = [weight.detach().abs() * gradient
              for weight, gradient in zip(weights.values(), gradients)]
    norm = torch.stack([part.norm() for part in scaled]).norm().clamp(min=1e-12)
    moved = {name: weight + rho / norm * weight.detach().abs() * part
             for (name, weight), part in zip(weights.items(), scaled)}
    # The running averages of BatchNorm take in the pass at w. Copies receive those of the pass at
    # w + e, so that they are not counted as well.
    copies = {name: buffer.clone() for name, buffer in objective.named_buffers()}
    return functional_call(objective, moved | copies, (batch,))
