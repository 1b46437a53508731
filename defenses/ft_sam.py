"""FT-SAM: fine-tuning on a few clean images towards flat minima.  Zhu et al., ICCV 2023.

Neurons of a backdoor have large weights, and a flat minimum asks for small ones. Each step descends by the gradient at
the worst of the neighbouring weights (SAM, Foret et al., ICLR 2021), the distance being relative to each weight (ASAM,
Kwon et al., ICML 2021):

    e = rho T^2 g / |T g|,    T = |w|,    g = grad L(w),    step along -grad L(w + e)

e has no unit of L, as g is divided by a norm. But a squared error has no bound where a cross entropy grows slowly: on
`tiny` the clean loss at w + e is some 200 times that at w for BackdoorBench's rho of 2, and less than twice for 0.1. So
each of 0.1, 0.5 and 2 is tried, and the counter that errs least on clean validation images is kept. Images, epochs and
rate are those of `fine_tune_few` (there: 5%, 100 epochs).
"""

from dataclasses import replace

import torch
from pydantic import PositiveFloat
from torch import Tensor
from torch.func import functional_call

from benchmark.data.batches import Batch
from benchmark.registry import register
from benchmark.training.loop import Objective
from defenses.base import Knowledge, Knows
from defenses.parts.tuning import OnFewImages
from models.base import Counter

RHOS = (0.1, 0.5, 2.0)


@register
class FtSam(OnFewImages):
    """images, epochs, lr: see `fine_tune_few`.

    rho: the Euclidean norm of the relative change of all weights; None chooses it on clean validation images.
    """

    rho: PositiveFloat | None = None

    @property
    def knows(self) -> Knows:
        return replace(super().knows, validation=self.rho is None or self.lr is None)

    def repaired(self, victim: Counter, knowledge: Knowledge, lr: float) -> Counter:
        if self.rho is not None:
            return self.flattened(victim, knowledge, lr, self.rho)
        return min((self.flattened(victim, knowledge, lr, rho) for rho in RHOS), key=knowledge.error)

    def flattened(self, victim: Counter, knowledge: Knowledge, lr: float, rho: float) -> Counter:
        """A copy of the victim after fine-tuning with one rho."""
        repaired = victim.copy()
        self.tune(repaired, knowledge, lr, loss=lambda counter, batch: worst_nearby(counter, batch, rho))
        return repaired


def worst_nearby(counter: Counter, batch: Batch, rho: float) -> Tensor:
    """The counter's losses at w + e, [B]. As e is held constant, their gradient by w is SAM's."""
    objective = Objective(counter, None, ())
    weights = {name: weight for name, weight in objective.named_parameters() if weight.requires_grad}
    slopes = torch.autograd.grad(objective(batch).mean(), list(weights.values()), materialize_grads=True)
    scaled = [weight.detach().abs() * slope for weight, slope in zip(weights.values(), slopes)]
    norm = torch.stack([part.norm() for part in scaled]).norm().clamp(min=1e-12)
    moved = {name: weight + rho / norm * weight.detach().abs() * part
             for (name, weight), part in zip(weights.items(), scaled)}
    # of BatchNorm's averages, which so take in the pass at w and not the one at w + e
    copies = {name: buffer.clone() for name, buffer in objective.named_buffers()}
    return functional_call(objective, moved | copies, (batch,))
