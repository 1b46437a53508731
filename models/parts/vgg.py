"""What counters built on VGG share.  Simonyan and Zisserman, ICLR 2015, arXiv 1409.1556, configurations D and E."""

from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import VGG19_Weights, vgg19

from benchmark.weights import Weights, start_from
from models.base import Counter

LICENCE = "torchvision's ImageNet weights, BSD-3-Clause; ImageNet itself is for non-commercial research"
VGG_16 = [64, 64, "pool", 128, 128, "pool", 256, 256, 256, "pool", 512, 512, 512, "pool", 512, 512, 512]
VGG_19 = [64, 64, "pool", 128, 128, "pool", *4 * [256], "pool", *4 * [512], "pool", *4 * [512]]
FRONT = VGG_16[:13]  # ten convolutions, stride 8: CSRNet's and CAN's
BACK = [512, 512, 512, 256, 128, 64]  # and their dilated back end
KEY_MAP = {"output_layer": "output", "features": "frontend"}  # their public names and VGG's -> ours


def convolutions(inputs: int, plan: list[int | str], dilation: int = 1, norm: bool = False) -> nn.Sequential:
    """3x3 convolutions with ReLU, and 2x2 max pools where the plan says 'pool', numbered as in torchvision's VGG.

    norm: put a BatchNorm before each ReLU.
    """
    layers: list[nn.Module] = []
    for channels in plan:
        if channels == "pool":
            layers.append(nn.MaxPool2d(2))
        else:
            layers.append(nn.Conv2d(inputs, channels, 3, padding=dilation, dilation=dilation))
            layers += [nn.BatchNorm2d(channels), nn.ReLU(inplace=True)] if norm else [nn.ReLU(inplace=True)]
            inputs = channels
    return nn.Sequential(*layers)


def kaiming(part: nn.Module) -> None:
    """Start convolutions as torchvision starts VGG's, so that a deep one from scratch keeps the scale of its input."""
    for layer in part.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out")
            nn.init.zeros_(layer.bias)


def small(*parts: nn.Module) -> None:
    """Start convolutions at N(0, 0.01)."""
    for layer in (layer for part in parts for layer in part.modules()):
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, std=0.01)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


class VGG19(Counter):
    """What DM-Count and Bayesian Loss train: VGG-19 to stride 16, upsampled to 8, and convolutions to 128 channels.

    last: what makes a density of the 128. A path of weights may hold a public one of either paper, or a VGG-19.
    """

    licence = LICENCE
    multiple = 16

    def __init__(self, weights: Weights, last: nn.Module):
        super().__init__()
        self.frontend = convolutions(3, VGG_19)
        self.head = nn.Sequential(*convolutions(512, [256, 128]), last)
        kaiming(self.frontend)
        self.weights_note = start_from(self, weights, self.frontend, "frontend",
                                       lambda: vgg19(weights=VGG19_Weights.IMAGENET1K_V1).features,
                                       {"features": "frontend", "reg_layer": "head", "density_layer": "head.4"})

    def density(self, images: Tensor) -> Tensor:
        return self.head(upsampled(self.frontend(images)))

    def backbone(self) -> nn.Module:
        return self.frontend


def upsampled(features: Tensor) -> Tensor:
    """Twice the size, bilinear, corner on corner."""
    return F.interpolate(features, scale_factor=2, mode="bilinear", align_corners=True)
