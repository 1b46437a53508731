"""Channel Lipschitzness: prune channels that amplify their input unusually, without any image.

Zheng, Tang, Li, Liu, ECCV 2022. The Lipschitz constant of channel k has the upper bound sigma_k of
defenses/parts/lipschitz.py. The channels with sigma_k > mean + u std over their layer are pruned.

Counting needs no change, because the method uses no label. The public code silently does nothing to
a network without BatchNorm; the bound here needs none. None of n values is further than
(n - 1) / sqrt(n) std from their mean, so at u = 3 nothing is ever pruned in a layer of up to 10
channels.

The smaller u is, the more is pruned. The paper takes 3 for CIFAR-10 and 5 for Tiny ImageNet without
looking at any image. Here 5, 3 and smaller values are tried, and clean validation images choose
among them; see defenses/parts/strength.py.
"""

from pydantic import Field

from benchmark.registry import register
from defenses.base import Defense, Knowledge, Knows
from defenses.parts.lipschitz import bounds
from defenses.parts.pruning import outlier_candidates
from defenses.parts.strength import strongest
from models.base import Counter


U = (5.0, 3.0, 2.5, 2.0, 1.5, 1.0)


@register
class CLP(Defense):
    """Channels with an unusually large bound are pruned.

    u: how many standard deviations above the mean of its layer a channel is pruned. None tries 5,
        3, 2.5, 2, 1.5 and 1, and takes the smallest one within the budget.
    """

    version = 2
    u: float | None = Field(None, ge=0)

    @property
    def knows(self) -> Knows:
        return Knows(validation=self.u is None)

    def apply(self, victim: Counter, knowledge: Knowledge) -> Counter:
        values = U if self.u is None else (self.u,)
        return strongest(outlier_candidates(victim, bounds(victim), values), knowledge)
