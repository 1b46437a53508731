"""CSRNet: density regression by ten VGG-16 convolutions and a dilated back end.  Li et al., CVPR 2018, CSRNet-B.

Stride 8, 16,263,489 parameters. The target here is the exact density map at stride 8; the original resizes a full-size
map by cubic interpolation x 64, which does not keep the count. The recipe is that of the paper under test (Adam 1e-5,
batch 1, 100 epochs, horizontal flip).
"""

from torch import Tensor, nn
from torchvision.models import VGG16_Weights, vgg16

from benchmark.recipe import Recipe
from benchmark.registry import register
from benchmark.weights import Weights, start_from
from models.base import Counter
from models.parts.vgg import BACK, FRONT, KEY_MAP, LICENCE, convolutions, kaiming, small


@register
class CSRNet(Counter):
    """weights: 'imagenet' (torchvision's VGG-16 for the front end), 'scratch', or the path of a state dict.

    A path may hold a whole CSRNet, also the public one's (frontend.N, backend.N, output_layer), or a VGG-16.
    """

    paper = "Li et al., CSRNet, CVPR 2018, arXiv 1802.10062"
    licence = LICENCE
    recipe = Recipe(epochs=100, batch_size=1, optimizer="adam", lr=1e-5, flip=True)

    def __init__(self, weights: Weights = "imagenet"):
        super().__init__()
        self.frontend = convolutions(3, FRONT)
        self.backend = convolutions(512, BACK, dilation=2)
        self.output = nn.Conv2d(64, 1, 1)
        kaiming(self)  # all of it: a seed starts the same counter as ever
        small(self.backend, self.output)
        self.weights_note = start_from(self, weights, self.frontend, "frontend",
                                       lambda: vgg16(weights=VGG16_Weights.IMAGENET1K_V1).features, KEY_MAP)

    def density(self, images: Tensor) -> Tensor:
        return self.output(self.backend(self.frontend(images)))

    def backbone(self) -> nn.Module:
        return self.frontend
