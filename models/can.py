"""CAN: CSRNet with features of the context at four scales.  Liu, Salzmann, Fua, CVPR 2019.

Stride 8, 18,103,489 parameters. As in the public code, one network gives the weights of all scales,
and the back end has BatchNorm, which the paper does not mention. Three things differ from the
public code: the target is the exact density map at stride 8; crops lie anywhere, not in one of the
four quarters; and images are counted whole, not by quarters.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmark.recipe import Recipe
from benchmark.registry import register
from benchmark.weights import Weights, start_from
from models.base import Counter
from models.parts.pretrained import imagenet_features
from models.parts.vgg import BACK, FRONT, KEY_MAP, LICENCE, convolutions, kaiming, small

SCALES = (1, 2, 3, 6)  # number of regions along each side of the map


class Context(nn.Module):
    """The context module: features joined with their averages over regions of four sizes.

    The averages are weighted by how much the features at a place differ from them.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.scales = nn.ModuleList()
        for regions in SCALES:
            convolution = nn.Conv2d(channels, channels, 1, bias=False)
            self.scales.append(nn.Sequential(nn.AdaptiveAvgPool2d(regions), convolution))
        self.weight_net = nn.Conv2d(channels, channels, 1)
        self.bottleneck = nn.Conv2d(2 * channels, channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Features [B, C, h, w] -> features of the same shape."""
        size = features.shape[-2:]
        averages = [F.interpolate(scale(features), size, mode="bilinear") for scale in self.scales]
        weights = [torch.sigmoid(self.weight_net(features - average)) for average in averages]
        weighted = sum(weight * average for weight, average in zip(weights, averages))
        context = weighted / sum(weights)
        return F.relu(self.bottleneck(torch.cat([context, features], dim=1)))


@register
class CAN(Counter):
    """weights: 'imagenet' (torchvision's VGG-16), 'scratch', or the path of a state dict.

    The file may hold a whole CAN, also one of the public code, or a VGG-16 for the front end.
    """

    paper = "Liu et al., Context-Aware Crowd Counting, CVPR 2019, arXiv 1811.10452"
    licence = LICENCE
    public_names = {"output": "output_layer"}
    public_code = "weizheliu/Context-Aware-Crowd-Counting"
    trained_parameters = 18_103_489
    recipe = Recipe(epochs=1000, batch_size=26, optimizer="adam", lr=1e-4, weight_decay=5e-4,
                    flip=True, crop=0.5)

    def __init__(self, weights: Weights = "imagenet"):
        super().__init__()
        self.frontend = convolutions(3, FRONT)
        self.context = Context(512)
        self.backend = convolutions(512, BACK, dilation=2, norm=True)
        self.output = nn.Conv2d(64, 1, 1)
        kaiming(self.frontend)
        small(self.context, self.backend, self.output)
        self.weights_note = start_from(
            self, weights, self.frontend, "frontend",
            lambda: imagenet_features("vgg16"), KEY_MAP,
            download="imagenet")

    def density(self, images: Tensor) -> Tensor:
        return self.output(self.backend(self.context(self.frontend(images))))

    def backbone(self) -> nn.Module:
        return self.frontend
