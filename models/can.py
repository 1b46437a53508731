"""CAN: CSRNet's plan with the context of each place between front and back end.  Liu, Salzmann, Fua, CVPR 2019.

Stride 8, 18,103,489 parameters. As in the public code, one network gives the weights of all scales, and the back end
has BatchNorm, which the paper does not mention. Unlike there, the target is the exact density map at stride 8, crops
lie anywhere (there: one of the four quarters), and images are counted whole (there: by quarters).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import VGG16_Weights, vgg16

from benchmark.recipe import Recipe
from benchmark.registry import register
from benchmark.weights import Weights, start_from
from models.base import Counter
from models.parts.vgg import BACK, FRONT, KEY_MAP, LICENCE, convolutions, kaiming, small

SCALES = (1, 2, 3, 6)  # regions along each side


class Context(nn.Module):
    """Features, and beside them their averages over regions, weighted by how a place differs from its regions."""

    def __init__(self, channels: int):
        super().__init__()
        self.scales = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(regions), nn.Conv2d(channels, channels, 1, bias=False))
            for regions in SCALES)
        self.weight_net = nn.Conv2d(channels, channels, 1)
        self.bottleneck = nn.Conv2d(2 * channels, channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        """[B, C, h, w] -> the same."""
        size = features.shape[-2:]
        regions = [F.interpolate(scale(features), size, mode="bilinear") for scale in self.scales]
        weights = [torch.sigmoid(self.weight_net(features - average)) for average in regions]
        context = sum(w * average for w, average in zip(weights, regions)) / sum(weights)
        return F.relu(self.bottleneck(torch.cat([context, features], dim=1)))


@register
class CAN(Counter):
    """weights: 'imagenet' (torchvision's VGG-16 for the front end), 'scratch', or the path of a state dict.

    A path may hold a whole CAN, also the public one's, or a VGG-16.
    """

    paper = "Liu et al., Context-Aware Crowd Counting, CVPR 2019, arXiv 1811.10452"
    licence = LICENCE
    recipe = Recipe(epochs=1000, batch_size=26, optimizer="adam", lr=1e-4, weight_decay=5e-4, flip=True, crop=0.5)

    def __init__(self, weights: Weights = "imagenet"):
        super().__init__()
        self.frontend = convolutions(3, FRONT)
        self.context = Context(512)
        self.backend = convolutions(512, BACK, dilation=2, norm=True)
        self.output = nn.Conv2d(64, 1, 1)
        kaiming(self.frontend)
        small(self.context, self.backend, self.output)
        self.weights_note = start_from(self, weights, self.frontend, "frontend",
                                       lambda: vgg16(weights=VGG16_Weights.IMAGENET1K_V1).features, KEY_MAP)

    def density(self, images: Tensor) -> Tensor:
        return self.output(self.backend(self.context(self.frontend(images))))

    def backbone(self) -> nn.Module:
        return self.frontend
