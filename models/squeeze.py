"""Squeeze: the laptop counter. A SqueezeNet-1.1 front end, its last pool replaced by dilation, and a dilated back end.

Ours, after CSRNet's plan (Li et al., CVPR 2018) on SqueezeNet (Iandola et al., arXiv 1602.07360, 2016). Stride 8.
"""

from pydantic import PositiveInt
from torch import Tensor, nn
from torchvision.models import SqueezeNet1_1_Weights, squeezenet1_1
from torchvision.models.convnext import LayerNorm2d

from benchmark.recipe import Recipe
from benchmark.registry import register
from benchmark.weights import Weights, start_from
from models.base import Counter
from models.parts.vgg import LICENCE

LAST_POOL, EXPANDED = 8, 512  # its index in torchvision's features; channels at the end


@register
class Squeeze(Counter):
    """weights: 'imagenet' (torchvision's SqueezeNet 1.1), 'scratch', or the path of a state dict of its features.

    The features pass a LayerNorm over channels, so that weights of any scale start the head alike.
    """

    paper = "ours, after Li et al., CVPR 2018 and Iandola et al., arXiv 1602.07360"
    licence = LICENCE
    recipe = Recipe(epochs=40, batch_size=4, optimizer="adamw", lr=1e-3, backbone_lr_ratio=0.2, weight_decay=1e-4,
                    schedule="onecycle", clip=1.0)

    def __init__(self, weights: Weights = "imagenet", width: PositiveInt = 128):
        super().__init__()
        self.frontend = _stride_8(squeezenet1_1().features)
        self.norm = LayerNorm2d(EXPANDED)
        layers: list[nn.Module] = []
        for channels, dilation in ((EXPANDED, 1), (width, 2), (width, 4), (width, 8)):
            layers += [nn.Conv2d(channels, width, 3, padding=dilation, dilation=dilation), nn.ReLU(inplace=True)]
        self.backend = nn.Sequential(*layers)
        self.output = nn.Conv2d(width, 1, 1)
        self.weights_note = start_from(self, weights, self.frontend, "frontend",
                                       lambda: squeezenet1_1(weights=SqueezeNet1_1_Weights.IMAGENET1K_V1).features,
                                       {"features": "frontend"})

    def density(self, images: Tensor) -> Tensor:
        return self.output(self.backend(self.norm(self.frontend(images))))

    def backbone(self) -> nn.Module:
        return self.frontend


def _stride_8(features: nn.Sequential) -> nn.Sequential:
    """Drop the last pool; the 3x3 convolutions behind it are dilated instead, so that they see as far as before.

    The first convolution has no padding in torchvision, which makes a map one block short of a stride of 8.
    """
    features[0].padding = (1, 1)
    for fire in features[LAST_POOL + 1 :]:
        fire.expand3x3.dilation = fire.expand3x3.padding = (2, 2)
    features[LAST_POOL] = nn.Identity()
    return features
