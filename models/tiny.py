"""Tiny: a small counter for the demo and the tests, trained in a minute or two on a CPU.

A design of this project that starts from scratch. Three strided convolutions lead to stride 8.
The residual head behind them is dilated, because only a head with a large receptive field can learn
a trigger that covers the whole image.
"""

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from benchmark.recipe import Recipe
from benchmark.registry import register
from benchmark.weights import FileWeights, start_whole
from models.base import Counter


@register
class Tiny(Counter):
    """width: number of channels of the head.

    weights: 'scratch', or the path of a state dict of a whole Tiny of the same width.
    """

    paper = "ours"
    trained_parameters = 171_729
    recipe = Recipe(epochs=70, batch_size=8, optimizer="adamw", lr=2e-3, weight_decay=1e-4,
                    schedule="onecycle", clip=1.0, validate_every=5)
    later_settings = ("weights",)

    def __init__(self, width: Annotated[int, Field(ge=4, le=1024)] = 64,
                 weights: FileWeights = "scratch"):
        super().__init__()
        self.stem = nn.Sequential(_convolution(3, width // 4, stride=2),
                                  _convolution(width // 4, width // 2, stride=2),
                                  _convolution(width // 2, width, stride=2))
        self.head = nn.ModuleList(_convolution(width, width, dilation=dilation)
                                  for dilation in (1, 2, 4, 8))
        self.output = nn.Conv2d(width, 1, 1)
        nn.init.zeros_(self.output.bias)
        self.weights_note = start_whole(self, weights, {})

    def density(self, images: Tensor) -> Tensor:
        features = self.stem(images)
        for block in self.head:
            features = features + block(features)
        return self.output(features)


def _convolution(inputs: int, outputs: int, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, dilation, dilation, bias=False),
                         nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))
