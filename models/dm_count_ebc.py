"""DMCount-EBC: blockwise classification on the network of DM-Count.  Ma, Sanchez, Guha, 2024.

The method of CLIP-EBC (arXiv 2403.09281) on the VGG-19 of DM-Count (Wang et al., NeurIPS 2020): its
features at stride 16 are upsampled to stride 8, two 3x3 convolutions lead to 128 channels, and a
1x1 convolution classifies each block by the number of people in it. There is no text encoder.
Stride 8, 21,499,973 parameters. Beside DM-Count it shows what the classification changes, and
beside CLIP-EBC what the sentences do.

The layers and the initial weights are those of `vgg19_ae` of the public code. Two things differ
from DM-Count itself: the upsampling is bilinear between the centres of the blocks, where DM-Count
aligns their corners, and the convolutions behind it start from Kaiming's initialisation. The
recipe, and what differs from the public code, are told in `models/parts/classifier.py`. The
original recipe is `--set training.schedule=restarts --set training.warmup=50 --set
training.epochs=2600`.
"""

from pydantic import PositiveFloat
from torch import Tensor

from benchmark.registry import register
from benchmark.weights import Weights
from models.parts.blockwise import doubled
from models.parts.classifier import VGGClassifier
from models.parts.vgg import VGG_19, convolutions

# Beginnings of the keys of the public code, of DM-Count and of VGG -> those of this counter.
KEY_MAP = {"backbone.features": "frontend", "backbone.reg_layer": "backend", "reg_layer": "backend",
           "head": "backend", "features": "frontend"}


@register
class DMCountEbc(VGGClassifier):
    """weights: 'imagenet' (torchvision's VGG-19), 'scratch', or the path of a state dict.

    The file may hold a whole DMCount-EBC, also one of the public code (backbone.features.N,
    backbone.reg_layer.N, classifier), a DM-Count, whose layers up to the 128 channels are taken, or
    a VGG-19 for the front end.
    last_anchor: number of people that stands for the last bin. None takes the mean count of the
        blocks of that bin in the training set. Files of the public code do not hold it.
    ot_weight: weight of the transport in the loss. 0.1 is that of the equation of DM-Count; the
        public code sums over its batch of 8, which amounts to 0.8.
    """

    paper = "Ma, Sanchez, Guha, CLIP-EBC, arXiv 2403.09281, 2024; network of DM-Count, NeurIPS 2020"
    multiple = 16
    public_names = {"frontend": "backbone.features", "backend": "backbone.reg_layer",
                    "anchors": None}
    trained_parameters = 21_499_973

    def __init__(self, weights: Weights = "imagenet", last_anchor: PositiveFloat | None = None,
                 ot_weight: PositiveFloat = 0.1):
        super().__init__(convolutions(3, VGG_19), convolutions(512, [256, 128]), last_anchor,
                         ot_weight)
        self.weights_note = self.start(weights, "vgg19", KEY_MAP)

    def block_features(self, images: Tensor) -> Tensor:
        return self.backend(doubled(self.frontend(images)))
