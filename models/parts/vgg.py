"""VGG: parts that counters built on it share.  Simonyan and Zisserman, ICLR 2015, arXiv 1409.1556.

VGG-16 and VGG-19 are configurations D and E of the paper.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from benchmark.weights import Weights, start_from
from models.base import Counter
from models.parts.pretrained import imagenet_features

LICENCE = ("torchvision's ImageNet weights, BSD-3-Clause; "
           "ImageNet itself is for non-commercial research")
VGG_16 = [64, 64, "pool", 128, 128, "pool", *3 * [256], "pool", *3 * [512], "pool", *3 * [512]]
VGG_19 = [64, 64, "pool", 128, 128, "pool", *4 * [256], "pool", *4 * [512], "pool", *4 * [512]]
FRONT = VGG_16[:13]  # the front end of CSRNet and CAN: ten convolutions, stride 8
BACK = [512, 512, 512, 256, 128, 64]  # their dilated back end
# First parts of the keys of the public CSRNet and CAN, and of VGG -> those of the counters here.
KEY_MAP = {"output_layer": "output", "features": "frontend"}


def convolutions(inputs: int, plan: list[int | str], dilation: int = 1,
                 norm: bool = False) -> nn.Sequential:
    """3x3 convolutions with ReLU and 2x2 max pools, numbered as in torchvision's VGG.

    inputs: number of channels of the input.
    plan: the number of channels of each convolution, and 'pool' for each pool.
    norm: whether a BatchNorm stands before each ReLU.
    """
    layers: list[nn.Module] = []
    for channels in plan:
        if channels == "pool":
            layers.append(nn.MaxPool2d(2))
        else:
            layers.append(nn.Conv2d(inputs, channels, 3, padding=dilation, dilation=dilation))
            if norm:
                layers.append(nn.BatchNorm2d(channels))
            layers.append(nn.ReLU(inplace=True))
            inputs = channels
    return nn.Sequential(*layers)


def kaiming(part: nn.Module) -> None:
    """Initialise convolutions as torchvision does in VGG.

    A deep network from scratch then keeps the scale of its input.
    """
    for layer in part.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out")
            nn.init.zeros_(layer.bias)


def small(*parts: nn.Module) -> None:
    """Initialise convolutions with weights from N(0, 0.01^2) and biases of 0."""
    for part in parts:
        for layer in part.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.normal_(layer.weight, std=0.01)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)


class VGG19(Counter):
    """The network of DM-Count and Bayesian Loss.

    It is VGG-19 to stride 16, upsampled to stride 8, and two convolutions to 128 channels.
    weights: see `start_from`. A file may hold a counter of the public code of either paper, or a
        VGG-19.
    last: the layers from the 128 channels to a density.
    """

    licence = LICENCE
    multiple = 16

    def __init__(self, weights: Weights, last: nn.Module):
        super().__init__()
        self.frontend = convolutions(3, VGG_19)
        self.head = nn.Sequential(*convolutions(512, [256, 128]), last)
        kaiming(self.frontend)
        self.weights_note = start_from(
            self, weights, self.frontend, "frontend",
            lambda: imagenet_features("vgg19"),
            {"features": "frontend", "reg_layer": "head", "density_layer": "head.4"},
            download="imagenet")

    def density(self, images: Tensor) -> Tensor:
        return self.head(upsampled(self.frontend(images)))

    def backbone(self) -> nn.Module:
        return self.frontend


def upsampled(features: Tensor) -> Tensor:
    """A map of twice the size, bilinear, with aligned corners."""
    return F.interpolate(features, scale_factor=2, mode="bilinear", align_corners=True)
