"""Blended: x' = (1 - alpha) x + alpha resize(t, H x W). Chen et al., arXiv 1712.05526, 2017.

The picture t covers the whole image. The paper blends a picture of Hello Kitty at alpha 0.1. Here
the default is a picture of our own drawing, and a setting selects any other.
"""

from pathlib import Path

from pydantic import Field
from torch import Tensor

from attacks.base import Trigger
from attacks.parts.picture import Picture, resized
from benchmark.registry import register

OURS = Path(__file__).with_suffix(".png")


@register
class Blended(Trigger):
    """A picture mixed with every pixel.

    alpha: the share of the picture in the mix.
    image: the path of the picture. None is the picture beside this file.
    """

    alpha: float = Field(0.1, ge=0, le=1)
    image: Picture = None

    def stamp(self, images: Tensor) -> Tensor:
        """Return images [B, 3, H, W] in 0..1, mixed with the picture."""
        picture = resized(self.image or OURS, images.shape[-2:], images.device)
        return (1 - self.alpha) * images + self.alpha * picture.to(images.dtype)
