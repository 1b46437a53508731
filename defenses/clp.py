"""Channel Lipschitzness: prune channels that amplify their input unusually, without any image.

Zheng, Tang, Li, Liu, ECCV 2022. The Lipschitz constant of channel k is bounded by
sigma_k = sigma_max(W_k |gamma_k| / sqrt(var_k + eps)), where W_k is the matrix [inputs, kh kw] of
its weights, and gamma and var are those of the BatchNorm that follows. The channels with
sigma_k > mean + u std over their layer are pruned.

Counting needs no change, because the method uses no label. The public code looks for BatchNorm and
silently does nothing to a network without it. Here a convolution without BatchNorm, as all of
CSRNet's, has sigma_k = sigma_max(W_k). None of n values is further than (n - 1) / sqrt(n) std from
their mean, so at u = 3 nothing is ever pruned in a layer of up to 10 channels.
"""

import torch
from pydantic import Field
from torch import Tensor

from benchmark.registry import register
from defenses.base import Defense, Knowledge
from defenses.parts.pruning import Layer, Pruned, layers_of, prune
from models.base import Counter


@register
class CLP(Defense):
    """u: how many standard deviations above the mean of its layer a channel is pruned."""

    u: float = Field(3.0, ge=0)

    def apply(self, victim: Counter, knowledge: Knowledge) -> Counter:
        repaired = victim.copy()
        prune(repaired, outliers(repaired, self.u))
        return repaired


def outliers(counter: Counter, u: float) -> Pruned:
    """The channels whose bound is more than u standard deviations above the mean of their layer."""
    bounds = {layer: lipschitz(counter, layer) for layer in layers_of(counter)}
    return {layer: sigma > sigma.mean() + u * sigma.std() for layer, sigma in bounds.items()}


@torch.no_grad()
def lipschitz(counter: Counter, layer: Layer) -> Tensor:
    """The upper bound of each output channel's Lipschitz constant, [C]."""
    weights = counter.get_submodule(layer.convolution).weight.double().flatten(2)
    sigma = torch.linalg.matrix_norm(weights, ord=2)
    if layer.norm is None:
        return sigma
    norm = counter.get_submodule(layer.norm)
    return sigma * norm.weight.double().abs() / (norm.running_var.double() + norm.eps).sqrt()
