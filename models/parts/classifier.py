"""Blockwise classification on VGG without a text encoder.  Ma, Sanchez, Guha, arXiv 2403.09281.

The networks of this kind in the public code of CLIP-EBC differ in their layers only. A front end of
VGG and a back end of convolutions lead to the features of the blocks, and a 1x1 convolution
classifies each block by the number of people in it.

All new convolutions start from Kaiming's initialisation. The bins, the anchors and the loss are
those of `clip_ebc`, and the differences from the public code too: the transport cost is averaged
over a batch and not summed, and the last anchor is computed from the training set. The classifier
runs in float32, also where the other layers run in bf16.

The public code has one recipe for all these networks: Adam 1e-4, batch 8, and the augmentation used
here, with warm-up and warm restarts over 2,600 epochs. As for `clip_ebc`, a cosine over 150 epochs
replaces this schedule, which does not fit shorter trainings. The learning rate stays at 1e-4, and
not at the 4e-4 of `clip_ebc`: VGG has no BatchNorm to bear it. The original recipe is `--set
training.schedule=restarts --set training.warmup=50 --set training.epochs=2600`.
"""

from abc import abstractmethod
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from benchmark.recipe import Recipe
from benchmark.weights import (KeyMap, Weights, checked_weights, described, load_tensors, part_for,
                               read_checkpoint, renamed, start_from)
from models.parts.blockwise import BINS, BlockwiseCounter
from models.parts.pretrained import imagenet_features
from models.parts.vgg import LICENCE, kaiming


class VGGClassifier(BlockwiseCounter):
    """A front end of VGG, a back end of convolutions, and a 1x1 convolution that classifies.

    A subclass writes `block_features`.

    classes: the number of classes of the classifier.
    frontend, backend: the layers; the last convolution of the back end is followed by a ReLU.
    last_anchor, ot_weight: see `BlockwiseCounter`.
    """

    classes: ClassVar[int] = BINS
    licence = LICENCE
    public_code = "Yiming-M/CLIP-EBC"
    public_note = ("The anchors of the bins are given when the network is built, see last_anchor "
                   "below.")
    recipe = Recipe(epochs=150, batch_size=8, optimizer="adam", lr=1e-4, weight_decay=1e-4,
                    schedule="cosine", flip=True, crop=448, zoom_max=2.0, jitter=0.2, blur=0.2,
                    noise=0.5)

    def __init__(self, frontend: nn.Sequential, backend: nn.Sequential, last_anchor: float | None,
                 ot_weight: float):
        super().__init__(last_anchor, ot_weight)
        self.frontend = frontend
        self.backend = backend
        self.classifier = nn.Conv2d(backend[-2].out_channels, self.classes, 1)
        kaiming(self)

    @abstractmethod
    def block_features(self, images: Tensor) -> Tensor:
        """The features of the blocks, [B, C, H / 8, W / 8]; C is what the back end ends with.

        images: normalised, [B, 3, H, W].
        """

    def logits(self, images: Tensor) -> Tensor:
        features = self.block_features(images)
        with torch.autocast(images.device.type, enabled=False):
            return self.classifier(features.float())

    def backbone(self) -> nn.Module:
        return self.frontend

    def start(self, weights: Weights, network: str, key_map: KeyMap) -> str:
        """Load the initial weights, and return one line for the record that says what they are.

        weights: 'imagenet', 'scratch', or the path of a file with a whole counter, a front and a
            back end, or VGG.
        network: the name of torchvision's VGG, for instance 'vgg16'.
        key_map: the names here for those of other programs; see `start_from`.

        Raises:
            UserError: the setting is none of these, the download failed, or the file does not fit.
        """
        weights = checked_weights(weights, "imagenet")
        if isinstance(weights, Path):
            return self._start_from_file(weights, key_map)
        return start_from(self, weights, self.frontend, "frontend",
                          lambda: imagenet_features(network), key_map, download="imagenet")

    def _start_from_file(self, path: Path, key_map: KeyMap) -> str:
        """Load a whole counter, a front and a back end, or VGG. Returns and raises as `start`."""
        names = [*self.state_dict(), *self.frontend.state_dict()]
        found = read_checkpoint(path)
        tensors = renamed(found.tensors, key_map, path, names)
        if {"classifier.weight", "classifier.bias"} & tensors.keys():  # VGG has classifier.N
            return self.load_whole(tensors, path) + found.choice
        if "backend.0.weight" in tensors:
            trunk = nn.ModuleDict({"frontend": self.frontend, "backend": self.backend})
            load_tensors(trunk, part_for(trunk, tensors), str(path), tensors)
            return f"front and back end: {described(path)}{found.choice}"
        front = {key.removeprefix("frontend."): tensor for key, tensor in tensors.items()}
        load_tensors(self.frontend, part_for(self.frontend, front), str(path), front)
        return f"front end: {described(path)}{found.choice}"
