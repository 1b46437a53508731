"""The bound of each channel's Lipschitz constant.

Zheng, Tang, Li, Liu, ECCV 2022. The Lipschitz constant of channel k is bounded by
sigma_k = sigma_max(W_k |gamma_k| / sqrt(var_k + eps)), where W_k is the matrix [inputs, kh kw] of
its weights, and gamma and var are those of the BatchNorm that follows. The public code leaves out
eps. A convolution without BatchNorm, as all of CSRNet's, has sigma_k = sigma_max(W_k).
"""

import torch
from torch import Tensor

from defenses.parts.pruning import Layer, layers_of
from models.base import Counter


def bounds(counter: Counter) -> dict[Layer, Tensor]:
    """The bound of each channel of each layer, [C] each."""
    return {layer: lipschitz(counter, layer) for layer in layers_of(counter)}


@torch.no_grad()
def lipschitz(counter: Counter, layer: Layer) -> Tensor:
    """The upper bound of each output channel's Lipschitz constant, [C]."""
    weights = counter.get_submodule(layer.convolution).weight.double().flatten(2)
    sigma = torch.linalg.matrix_norm(weights, ord=2)
    if layer.norm is None:
        return sigma
    norm = counter.get_submodule(layer.norm)
    return sigma * norm.weight.double().abs() / (norm.running_var.double() + norm.eps).sqrt()
