"""Bayesian Loss: a VGG-19 trained by the expected count of each head and of the background.  Ma et al., ICCV 2019.

Stride 8, 21,499,457 parameters. The recipe and the loss (Bayes+) are the public code's: a block's squared distance to
the background is d^2 / its squared distance to the nearest head. There d is the image's shorter side, here the crop's.
Its crops keep a head whose box is half inside, ours one that is inside.
"""

import torch
from torch import Tensor, nn

from benchmark.data.batches import Batch
from benchmark.recipe import Recipe
from benchmark.registry import register
from benchmark.weights import Weights
from models.parts.vgg import VGG19

SIGMA = 8.0  # pixels, of a head's likelihood
BACKGROUND = 1.0  # d as a share of the shorter side
EPS = 1e-5  # square pixels


@register
class Bayesian(VGG19):
    """weights: 'imagenet' (torchvision's VGG-19), 'scratch', or the path of a state dict.

    A path may hold a whole counter, also the public one's (features.N, reg_layer.N), or a VGG-19.
    """

    paper = "Ma et al., Bayesian Loss, ICCV 2019, arXiv 1908.03684"
    recipe = Recipe(epochs=1000, batch_size=1, optimizer="adam", lr=1e-5, weight_decay=1e-4, flip=True, crop=512)

    def __init__(self, weights: Weights = "imagenet"):
        super().__init__(weights, nn.Conv2d(128, 1, 1))

    def density(self, images: Tensor) -> Tensor:
        return super().density(images).abs()

    def loss(self, batch: Batch) -> Tensor:
        """Loss of each image, [B]: the distance of each head's expected count from 1, and of the background's from 0.

        An image without heads is all background.
        """
        margin = BACKGROUND * min(batch.images.shape[-2:])
        maps = self(batch.images).float()
        return torch.stack([bayesian_loss(blocks, heads, self.stride, margin)
                            for (blocks,), heads in zip(maps, batch.points)])


def bayesian_loss(density: Tensor, points: Tensor, stride: int, margin: float) -> Tensor:
    """Bayes+ of one image: sum_n |1 - E[c_n]| + |E[c_0]|, where E[c] = sum of p(c | block) x density over the blocks.

    density: float32 [h, w], none negative. points: [N, 2] as (x, y) pixels. margin: d, in pixels.
    """
    if not len(points):
        return density.sum()
    y, x = ((torch.arange(side, device=density.device) + 0.5) * stride for side in density.shape)
    squares = ((points[:, 1:] - y).square()[:, :, None] + (points[:, :1] - x).square()[:, None]).flatten(1)  # [N, h w]
    background = margin**2 / (squares.amin(dim=0, keepdim=True) + EPS)
    posterior = torch.softmax(torch.cat([squares, background]) / (-2 * SIGMA**2), dim=0)
    expected = (posterior * density.flatten()).sum(dim=1)  # no matrix product: autocast would round it
    return (1 - expected[:-1]).abs().sum() + expected[-1]
