"""Gaussian blur before counting.  Local smoothing of Feature Squeezing: Xu, Evans, Qi, NDSS 2018.

    y = c(G_sigma * x)

Sigma is 1 pixel, about that of the paper's windows of 3 pixels; 2 is stronger. Nothing is changed for counting: no head
moves. Heads of few pixels are blurred away with a fine trigger; a counter that was trained with blur loses less.
"""

from pydantic import PositiveFloat
from torch import Tensor

from benchmark.registry import register
from defenses.parts.preprocessing import Preprocessing, blurred


@register
class Blur(Preprocessing):
    """sigma: width of the Gaussian, in pixels of the image."""

    sigma: PositiveFloat = 1.0

    def change(self, images: Tensor) -> Tensor:
        return blurred(images, self.sigma)
