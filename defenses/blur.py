"""Gaussian blur: smooth the image before counting.  Xu, Evans, Qi, Feature Squeezing, NDSS 2018.

    y = c(G_sigma * x)

This is the paper's local smoothing. A sigma of 1 pixel, the default, corresponds roughly to its
windows of 3 pixels; 2 is stronger. Counting needs no change, because blur moves no head. Heads of a
few pixels are blurred away together with a fine trigger; a counter that was trained with blur loses
less.
"""

from pydantic import PositiveFloat
from torch import Tensor

from benchmark.registry import register
from defenses.parts.preprocessing import Preprocessing, blurred


@register
class Blur(Preprocessing):
    """sigma: standard deviation of the Gaussian, in pixels of the image."""

    sigma: PositiveFloat = 1.0

    def change(self, images: Tensor) -> Tensor:
        return blurred(images, self.sigma)
