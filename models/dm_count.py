"""DM-Count: VGG-19 with a loss of count, transport and total variation.  Wang et al., NeurIPS 2020.

Stride 8, 21,499,457 parameters. The recipe is that of the public code. One thing differs: the
weights of the last 1x1 convolution start at the absolute values of the random ones, and its bias at
0. With signed weights the ReLU behind it is dead at the start for 10 of 24 seeds from scratch.
"""

import torch
from pydantic import PositiveFloat
from torch import Tensor, nn

from benchmark.data.batches import Batch
from benchmark.recipe import Recipe
from benchmark.registry import register
from benchmark.weights import Weights
from models.parts.transport import distribution_matching
from models.parts.vgg import VGG19


@register
class DMCount(VGG19):
    """weights: 'imagenet' (torchvision's VGG-19), 'scratch', or the path of a state dict.

    The file may hold a whole DM-Count, also one of the public code (features.N, reg_layer.N,
    density_layer.0), or a VGG-19.
    ot_weight: weight of the transport in the loss. 0.1 is that of the equation; the public code
        sums over its batch of 10, which amounts to 1.0.
    """

    paper = "Wang et al., DM-Count, NeurIPS 2020, arXiv 2009.13077"
    trained_parameters = 21_499_457
    recipe = Recipe(epochs=1000, batch_size=10, optimizer="adam", lr=1e-5, weight_decay=1e-4,
                    flip=True, crop=512)
    may_be_negative = False  # it ends in a ReLU
    public_names = {"frontend": "features", "head.4": "density_layer", "head": "reg_layer"}
    public_code = "cvlab-stonybrook/DM-Count"

    def __init__(self, weights: Weights = "imagenet", ot_weight: PositiveFloat = 0.1):
        output = nn.Conv2d(128, 1, 1)
        with torch.no_grad():
            output.weight.abs_()
        nn.init.zeros_(output.bias)
        super().__init__(weights, nn.Sequential(output, nn.ReLU()))
        self.ot_weight = ot_weight

    def loss(self, batch: Batch) -> Tensor:
        return distribution_matching(self(batch.images), batch.points, self.stride, self.ot_weight)
