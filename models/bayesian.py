"""Bayesian Loss: VGG-19 with a loss on the expected count of each head.  Ma et al., ICCV 2019.

Stride 8, 21,499,457 parameters. The recipe and the loss (Bayes+) are those of the public code: the
squared distance of a block to the background is d^2 divided by its squared distance to the nearest
head. Two things differ. In the public code d is the shorter side of the image, here that of the
crop. Crops of the public code keep a head if at least .3 of its box lies inside, and then expect
that share of a person. Crops here keep a head if it lies inside, and expect one person.
"""

import torch
from torch import Tensor, nn

from benchmark.data.batches import Batch
from benchmark.recipe import Recipe
from benchmark.registry import register
from benchmark.weights import Weights
from models.parts.vgg import VGG19

SIGMA = 8.0  # pixels, standard deviation of a head's likelihood
BACKGROUND = 1.0  # d divided by the shorter side
EPS = 1e-5  # square pixels


@register
class Bayesian(VGG19):
    """weights: 'imagenet' (torchvision's VGG-19), 'scratch', or the path of a state dict.

    The file may hold a whole counter, also one of the public code (features.N, reg_layer.N), or a
    VGG-19.
    """

    paper = "Ma et al., Bayesian Loss, ICCV 2019, arXiv 1908.03684"
    trained_parameters = 21_499_457
    public_names = {"frontend": "features", "head": "reg_layer"}
    public_code = "ZhihengCV/Bayesian-Crowd-Counting"
    may_be_negative = False  # it ends in an absolute value
    recipe = Recipe(epochs=1000, batch_size=1, optimizer="adam", lr=1e-5, weight_decay=1e-4,
                    flip=True, crop=512)

    def __init__(self, weights: Weights = "imagenet"):
        super().__init__(weights, nn.Conv2d(128, 1, 1))

    def density(self, images: Tensor) -> Tensor:
        return super().density(images).abs()

    def loss(self, batch: Batch) -> Tensor:
        """The Bayes+ loss of each image, [B]. See `bayesian_loss`."""
        margin = BACKGROUND * min(batch.images.shape[-2:])
        maps = self(batch.images).float()[:, 0]
        return torch.stack([bayesian_loss(density, heads, self.stride, margin)
                            for density, heads in zip(maps, batch.points)])


def bayesian_loss(density: Tensor, points: Tensor, stride: int, margin: float) -> Tensor:
    """Bayes+ of one image: sum_n |1 - E[c_n]| + |E[c_0]|.

    E[c_n] is the expected count of head n, and E[c_0] that of the background: the sum over the
    blocks of p(n | block) x density. An image without heads is all background.

    density: float32 [h, w], not negative.
    points: [N, 2] as (x, y) in pixels.
    margin: d, the distance to the background, in pixels.
    """
    if not len(points):
        return density.sum()
    y, x = ((torch.arange(side, device=density.device) + 0.5) * stride for side in density.shape)
    squares_y = (points[:, 1:] - y).square()[:, :, None]
    squares_x = (points[:, :1] - x).square()[:, None]
    squares = (squares_y + squares_x).flatten(1)  # squared distances of heads to blocks, [N, h w]
    background = margin**2 / (squares.amin(dim=0, keepdim=True) + EPS)
    posterior = torch.softmax(torch.cat([squares, background]) / (-2 * SIGMA**2), dim=0)
    # Autocast would round a matrix product, so the terms are multiplied and summed.
    expected = (posterior * density.flatten()).sum(dim=1)
    return (1 - expected[:-1]).abs().sum() + expected[-1]
