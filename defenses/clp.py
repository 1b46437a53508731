"""Channel Lipschitzness based pruning: channels that amplify their input unusually are pruned, without any image.

Zheng, Tang, Li, Liu, ECCV 2022. A channel's bound is sigma_k = sigma_max(W_k |gamma_k| / sqrt(var_k + eps)), W_k its
weights as a matrix [inputs, kh kw] and gamma, var those of the BatchNorm that follows. Channels with
sigma_k > mean + u std over their layer are pruned.

It uses no label, so counting changes nothing. The public code looks for BatchNorm and silently does nothing to a
network without; here a plain convolution, as all of CSRNet's, has sigma_k = sigma_max(W_k). No value lies further than
(n - 1) / sqrt(n) std from the mean of n, so at u = 3 a layer of up to 10 channels is never pruned.
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
    """u: standard deviations above its layer's mean at which a channel is pruned."""

    u: float = Field(3.0, ge=0)

    def apply(self, victim: Counter, knowledge: Knowledge) -> Counter:
        repaired = victim.copy()
        prune(repaired, outliers(repaired, self.u))
        return repaired


def outliers(counter: Counter, u: float) -> Pruned:
    """The channels that are pruned."""
    bounds = {layer: lipschitz(counter, layer) for layer in layers_of(counter)}
    return {layer: sigma > sigma.mean() + u * sigma.std() for layer, sigma in bounds.items()}


@torch.no_grad()
def lipschitz(counter: Counter, layer: Layer) -> Tensor:
    """The upper bound of each output channel's Lipschitz constant, [C]."""
    sigma = torch.linalg.matrix_norm(counter.get_submodule(layer.convolution).weight.double().flatten(2), ord=2)
    if layer.norm is None:
        return sigma
    norm = counter.get_submodule(layer.norm)
    return sigma * norm.weight.double().abs() / (norm.running_var.double() + norm.eps).sqrt()
