"""Squeeze: a counter for laptops, with a SqueezeNet 1.1 front end and a dilated back end.

Stride 8. A design of this project, after CSRNet (Li et al., CVPR 2018) and SqueezeNet (Iandola et
al., arXiv 1602.07360, 2016). Dilation replaces the last pool of SqueezeNet.
"""

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from benchmark.recipe import Recipe
from benchmark.registry import register
from benchmark.weights import Weights, start_from
from models.base import Counter
from models.parts.pretrained import imagenet_features
from models.parts.vgg import LICENCE

LAST_POOL = 8  # index of the last pool in torchvision's features
EXPANDED = 512  # channels of the last features


@register
class Squeeze(Counter):
    """weights: 'imagenet' (torchvision's SqueezeNet 1.1), 'scratch', or the path of a state dict.

    The file may hold a whole Squeeze, or the features of a SqueezeNet 1.1. A LayerNorm over
    channels follows the features, so that the back end starts alike from weights of any scale.
    width: number of channels of the back end.
    """

    paper = "ours, after Li et al., CVPR 2018 and Iandola et al., arXiv 1602.07360"
    licence = LICENCE
    trained_parameters = 1_756_353
    recipe = Recipe(epochs=40, batch_size=4, optimizer="adamw", lr=1e-3, backbone_lr_ratio=0.2,
                    weight_decay=1e-4, schedule="onecycle", clip=1.0)

    def __init__(self, weights: Weights = "imagenet",
                 width: Annotated[int, Field(ge=1, le=1024)] = 128):
        from torchvision.models import squeezenet1_1  # takes seconds to import
        from torchvision.models.convnext import LayerNorm2d

        super().__init__()
        self.frontend = _stride_8(squeezenet1_1().features)
        self.norm = LayerNorm2d(EXPANDED)
        layers: list[nn.Module] = []
        for channels, dilation in ((EXPANDED, 1), (width, 2), (width, 4), (width, 8)):
            layers.append(nn.Conv2d(channels, width, 3, padding=dilation, dilation=dilation))
            layers.append(nn.ReLU(inplace=True))
        self.backend = nn.Sequential(*layers)
        self.output = nn.Conv2d(width, 1, 1)
        self.weights_note = start_from(
            self, weights, self.frontend, "frontend",
            lambda: imagenet_features("squeezenet1_1"),
            {"features": "frontend"}, download="imagenet")

    def density(self, images: Tensor) -> Tensor:
        return self.output(self.backend(self.norm(self.frontend(images))))

    def backbone(self) -> nn.Module:
        return self.frontend


def _stride_8(features: nn.Sequential) -> nn.Sequential:
    """The features of SqueezeNet changed to stride 8.

    The last pool is dropped. The 3x3 convolutions behind it are dilated instead, so that their
    receptive field stays the same. The first convolution, which has no padding in torchvision, gets
    some; without it the map would be one block short.
    """
    features[0].padding = (1, 1)
    for fire in features[LAST_POOL + 1 :]:
        fire.expand3x3.dilation = fire.expand3x3.padding = (2, 2)
    features[LAST_POOL] = nn.Identity()
    return features
