"""SFANet: a decoder of density, weighed by one of attention, on VGG-16-BN.  Zhu et al., 2019, arXiv 1902.01115.

Stride 2, 17,002,052 parameters. Network, loss and recipe are those of the public (unofficial) code. Its target has
sigma 5 for every head, so this counter does not use the scenes' sigmas. Its truth of attention, 1 where a full-size map
exceeds 0.001 people per pixel, is resized to stride 2; here the map at stride 2 is compared, so that all is 0 or 1.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import VGG16_BN_Weights, vgg16_bn

from benchmark.data.batches import Batch
from benchmark.data.density import density_maps
from benchmark.recipe import Recipe
from benchmark.registry import register
from benchmark.weights import Weights, start_from
from models.base import Counter
from models.parts.vgg import LICENCE, VGG_16, convolutions, kaiming, small, upsampled


class Decoder(nn.Module):
    """Maps of the encoder at strides 2, 4, 8, 16 -> 32 channels at stride 2."""

    def __init__(self):
        super().__init__()
        self.steps = nn.ModuleList(
            nn.Sequential(nn.Conv2d(inputs, plan[0], 1), nn.BatchNorm2d(plan[0]), nn.ReLU(inplace=True),
                          *convolutions(plan[0], plan[1:], norm=True))
            for inputs, plan in ((1024, [256, 256]), (512, [128, 128]), (256, [64, 64, 32])))

    def forward(self, maps: list[Tensor]) -> Tensor:
        *finer, features = maps
        for step, skipped in zip(self.steps, reversed(finer)):
            features = step(torch.cat([upsampled(features), skipped], dim=1))
        return features


@register
class SFANet(Counter):
    """weights: 'imagenet' (torchvision's VGG-16-BN for the encoder), 'scratch', or the path of a state dict.

    A path may hold a whole SFANet of ours or a VGG-16-BN.
    """

    paper = "Zhu et al., SFANet, 2019, arXiv 1902.01115"
    licence = LICENCE
    stride = 2
    multiple = 16
    recipe = Recipe(epochs=500, batch_size=8, optimizer="adam", lr=1e-4, flip=True, crop=400, zoom_min=0.83,
                    zoom_max=1.25, gamma=0.3)
    sigma = 5.0  # pixels, of every head
    threshold = 0.001  # people per pixel, above which attention is 1
    attention_weight = 0.1

    def __init__(self, weights: Weights = "imagenet"):
        super().__init__()
        self.frontend = convolutions(3, VGG_16, norm=True)
        self.people, self.attention = Decoder(), Decoder()
        self.gate = nn.Sequential(nn.Conv2d(32, 1, 1), nn.BatchNorm2d(1))
        self.output = nn.Conv2d(32, 1, 1)
        kaiming(self.frontend)
        small(self.people, self.attention, self.gate, self.output)
        self.weights_note = start_from(self, weights, self.frontend, "frontend",
                                       lambda: vgg16_bn(weights=VGG16_BN_Weights.IMAGENET1K_V1).features,
                                       {"features": "frontend"})

    def both(self, images: Tensor) -> Tensor:
        """As `density`, with the logits of attention in a second channel."""
        maps = []
        for layer in self.frontend:
            if isinstance(layer, nn.MaxPool2d):
                maps.append(images)
            images = layer(images)
        maps = [*maps[1:], images]  # conv2_2, conv3_3, conv4_3, conv5_3
        logits = self.gate(self.attention(maps))
        return torch.cat([self.output(self.people(maps) * logits.sigmoid()), logits], dim=1)

    def density(self, images: Tensor) -> Tensor:
        return self.both(images)[:, :1]

    def loss(self, batch: Batch) -> Tensor:
        """Loss of each image, [B]: squared error of the density and cross entropy of the attention, over the map."""
        density, logits = self.apply_layers(batch.images, self.both).float().split(1, dim=1)
        sigmas = [torch.full_like(widths, self.sigma) for widths in batch.sigmas]
        truth = density_maps(batch.points, sigmas, batch.images.shape[-2:], self.stride)
        attention = (truth > self.threshold * self.stride**2).float()
        entropy = F.binary_cross_entropy_with_logits(logits, attention, reduction="none")
        return ((density - truth).square() + self.attention_weight * entropy).sum(dim=(1, 2, 3))

    def backbone(self) -> nn.Module:
        return self.frontend
