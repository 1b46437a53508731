"""MCNN: three columns with large, medium and small kernels.  Zhang et al., CVPR 2016, fig. 3.

Stride 4. A classic small counter, which is always trained from scratch.
"""

import torch
from torch import Tensor, nn

from benchmark.recipe import Recipe
from benchmark.registry import register
from models.base import Counter

# The channels of each column, by the side of its first kernel in pixels.
COLUMNS = {9: (16, 32, 16, 8), 7: (20, 40, 20, 10), 5: (24, 48, 24, 12)}


@register
class MCNN(Counter):
    """The published architecture. It has no settings."""

    paper = "Zhang et al., MCNN, CVPR 2016"
    stride = 4
    multiple = 4
    trained_parameters = 133_705
    recipe = Recipe(epochs=100, batch_size=1, optimizer="adam", lr=1e-5, flip=True)

    def __init__(self):
        super().__init__()
        self.columns = nn.ModuleList(_column(*column) for column in COLUMNS.items())
        self.output = nn.Conv2d(sum(channels[-1] for channels in COLUMNS.values()), 1, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.01)
                nn.init.zeros_(module.bias)

    def density(self, images: Tensor) -> Tensor:
        return self.output(torch.cat([column(images) for column in self.columns], dim=1))


def _column(kernel: int, channels: tuple[int, ...]) -> nn.Sequential:
    """Four convolutions, the first with a larger kernel, and two pools: stride 4."""
    first, second, third, last = channels
    inner = kernel - 2
    return nn.Sequential(
        nn.Conv2d(3, first, kernel, padding="same"), nn.ReLU(inplace=True), nn.MaxPool2d(2),
        nn.Conv2d(first, second, inner, padding="same"), nn.ReLU(inplace=True), nn.MaxPool2d(2),
        nn.Conv2d(second, third, inner, padding="same"), nn.ReLU(inplace=True),
        nn.Conv2d(third, last, inner, padding="same"), nn.ReLU(inplace=True))
