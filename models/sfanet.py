"""SFANet: VGG-16-BN with a density and an attention decoder.  Zhu et al., arXiv 1902.01115, 2019.

Stride 2, 17,002,052 parameters. Network, loss and recipe are those of the public
(unofficial) code. Its target has sigma 5 for every head, so this counter ignores the sigmas of the
scenes. One thing differs. The public code makes the attention target at full size, 1 where the map
exceeds 0.001 people per pixel, and resizes it to stride 2. Here the map at stride 2 is compared, so
that every value is 0 or 1.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmark.data.batches import Batch
from benchmark.data.density import density_maps
from benchmark.recipe import Recipe
from benchmark.registry import register
from benchmark.weights import Weights, start_from
from models.base import Counter
from models.parts.pretrained import imagenet_features
from models.parts.vgg import LICENCE, VGG_16, convolutions, kaiming, small, upsampled

# The public code joins a convolution and its BatchNorm; here they are neighbours in a Sequential.
ENCODER_LAYERS = {"1_1": 0, "1_2": 3, "2_1": 7, "2_2": 10, "3_1": 14, "3_2": 17, "3_3": 20,
                  "4_1": 24, "4_2": 27, "4_3": 30, "5_1": 34, "5_2": 37, "5_3": 40}
DECODER_LAYERS = {1: (0, 0), 2: (0, 3), 3: (1, 0), 4: (1, 3), 5: (2, 0), 6: (2, 3), 7: (2, 6)}
UNUSED = "conv_out.bn"  # a BatchNorm that the public code saves and never runs


def _public_names() -> dict[str, str | None]:
    """Beginnings of the keys of this counter -> those of the public code."""
    names = {ours: theirs for theirs, ours in _key_map().items() if ours is not None}
    return {ours: theirs for ours, theirs in names.items() if theirs != "features"}


def _key_map() -> dict[str, str | None]:
    """Beginnings of the keys of the public code, and of VGG -> those of this counter."""
    key_map: dict[str, str | None] = {
        "features": "frontend", "conv_att.conv": "gate.0", "conv_att.bn": "gate.1",
        "conv_out.conv": "output", UNUSED: None}
    for name, layer in ENCODER_LAYERS.items():
        key_map |= {f"vgg.conv{name}.conv": f"frontend.{layer}",
                    f"vgg.conv{name}.bn": f"frontend.{layer + 1}"}
    for theirs, ours in {"amp": "attention", "dmp": "people"}.items():
        for number, (step, layer) in DECODER_LAYERS.items():
            key_map |= {f"{theirs}.conv{number}.conv": f"{ours}.steps.{step}.{layer}",
                        f"{theirs}.conv{number}.bn": f"{ours}.steps.{step}.{layer + 1}"}
    return key_map


class Decoder(nn.Module):
    """A decoder: maps of the encoder at strides 2, 4, 8 and 16 -> 32 channels at stride 2."""

    def __init__(self):
        super().__init__()
        self.steps = nn.ModuleList()
        for inputs, plan in ((1024, [256, 256]), (512, [128, 128]), (256, [64, 64, 32])):
            self.steps.append(nn.Sequential(
                nn.Conv2d(inputs, plan[0], 1), nn.BatchNorm2d(plan[0]), nn.ReLU(inplace=True),
                *convolutions(plan[0], plan[1:], norm=True)))

    def forward(self, maps: list[Tensor]) -> Tensor:
        *finer_maps, features = maps
        for step, finer in zip(self.steps, reversed(finer_maps)):
            features = step(torch.cat([upsampled(features), finer], dim=1))
        return features


@register
class SFANet(Counter):
    """weights: 'imagenet' (torchvision's VGG-16-BN), 'scratch', or the path of a state dict.

    The file may hold a whole SFANet, also one of the public code (vgg.convN_N, amp, dmp), or a
    VGG-16-BN for the encoder.
    """

    paper = "Zhu et al., SFANet, 2019, arXiv 1902.01115"
    licence = LICENCE
    stride = 2
    multiple = 16
    trained_parameters = 17_002_052
    public_names = _public_names()
    public_code = "pxq0312/SFANet-crowd-counting"
    recipe = Recipe(epochs=500, batch_size=8, optimizer="adam", lr=1e-4, flip=True, crop=400,
                    zoom_min=0.83, zoom_max=1.25, gamma=0.3)
    sigma = 5.0  # pixels, the same for every head
    threshold = 0.001  # people per pixel; where the map exceeds it, the attention target is 1
    attention_weight = 0.1

    def __init__(self, weights: Weights = "imagenet"):
        super().__init__()
        self.frontend = convolutions(3, VGG_16, norm=True)
        self.people = Decoder()
        self.attention = Decoder()
        self.gate = nn.Sequential(nn.Conv2d(32, 1, 1), nn.BatchNorm2d(1))
        self.output = nn.Conv2d(32, 1, 1)
        kaiming(self.frontend)
        small(self.people, self.attention, self.gate, self.output)
        self.weights_note = start_from(
            self, weights, self.frontend, "frontend",
            lambda: imagenet_features("vgg16_bn"),
            _key_map(), download="imagenet")

    def density_and_attention(self, images: Tensor) -> Tensor:
        """The density and, in a second channel, the logits of the attention. See `density`."""
        maps = []
        for layer in self.frontend:
            if isinstance(layer, nn.MaxPool2d):
                maps.append(images)
            images = layer(images)
        maps = [*maps[1:], images]  # conv2_2, conv3_3, conv4_3, conv5_3
        logits = self.gate(self.attention(maps))
        return torch.cat([self.output(self.people(maps) * logits.sigmoid()), logits], dim=1)

    def density(self, images: Tensor) -> Tensor:
        return self.density_and_attention(images)[:, :1]

    def loss(self, batch: Batch) -> Tensor:
        """The loss of each image, [B], summed over its map.

        It is the squared error of the density plus the weighted cross entropy of the attention.
        """
        maps = self.apply_layers(batch.images, self.density_and_attention).float()
        density, logits = maps.split(1, dim=1)
        sigmas = [torch.full_like(widths, self.sigma) for widths in batch.sigmas]
        truth = density_maps(batch.points, sigmas, batch.images.shape[-2:], self.stride)
        attention = (truth > self.threshold * self.stride**2).float()
        entropy = F.binary_cross_entropy_with_logits(logits, attention, reduction="none")
        errors = (density - truth).square()
        return (errors + self.attention_weight * entropy).sum(dim=(1, 2, 3))

    def public_state(self) -> dict[str, Tensor]:
        """The tensors under the names of the public code, with a BatchNorm that it never runs."""
        unused = nn.BatchNorm2d(1).state_dict()
        return super().public_state() | {f"{UNUSED}.{key}": unused[key] for key in unused}

    def backbone(self) -> nn.Module:
        return self.frontend
