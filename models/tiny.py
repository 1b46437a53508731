"""Tiny: a counter of our own for the demo and the tests, trained from scratch in a minute or two on a CPU.

Three strided convolutions to stride 8, then a dilated residual head that sees far: a global trigger is learned
only by a head that can see it.
"""

from pydantic import PositiveInt
from torch import Tensor, nn

from benchmark.recipe import Recipe
from benchmark.registry import register
from models.base import Counter


@register
class Tiny(Counter):
    """width: channels of the head."""

    paper = "ours"
    recipe = Recipe(epochs=70, batch_size=8, optimizer="adamw", lr=2e-3, weight_decay=1e-4, schedule="onecycle",
                    clip=1.0, validate_every=5)

    def __init__(self, width: PositiveInt = 64):
        super().__init__()
        self.stem = nn.Sequential(_convolution(3, width // 4, stride=2),
                                  _convolution(width // 4, width // 2, stride=2),
                                  _convolution(width // 2, width, stride=2))
        self.head = nn.ModuleList(_convolution(width, width, dilation=dilation) for dilation in (1, 2, 4, 8))
        self.output = nn.Conv2d(width, 1, 1)
        nn.init.zeros_(self.output.bias)

    def density(self, images: Tensor) -> Tensor:
        features = self.stem(images)
        for block in self.head:
            features = features + block(features)
        return self.output(features)


def _convolution(inputs: int, outputs: int, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, dilation, dilation, bias=False),
                         nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))
