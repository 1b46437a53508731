"""Blended: x' = (1 - alpha) x + alpha resize(t, H x W). Chen et al., arXiv 1712.05526, 2017.

The picture t covers the whole image. The paper blends a picture of Hello Kitty at alpha 0.1. Here
the default is a picture of our own drawing, and a setting selects any other.
"""

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from pydantic import Field, field_validator
from torch import Tensor
from torch.nn import functional as F

from attacks.base import Trigger
from benchmark.data.image_files import opened
from benchmark.registry import register
from benchmark.utils.errors import UserError

OURS = Path(__file__).with_suffix(".png")


@register
class Blended(Trigger):
    """A picture mixed with every pixel.

    alpha: the share of the picture in the mix.
    image: the path of the picture. None is the picture beside this file.
    """

    alpha: float = Field(0.1, ge=0, le=1)
    image: Path | None = None

    @field_validator("image")
    @classmethod
    def _is_a_picture(cls, path: Path | None) -> Path | None:
        if path is not None:
            read_picture(path)
        return path

    def stamp(self, images: Tensor) -> Tensor:
        """Return images [B, 3, H, W] in 0..1, mixed with the picture."""
        picture = _resized(self.image or OURS, images.shape[-2:], images.device)
        return (1 - self.alpha) * images + self.alpha * picture.to(images.dtype)


def read_picture(path: Path) -> np.ndarray:
    """Return an image file as uint8 [H, W, 3].

    Raises:
        ValueError: the file is not an image that can be read.
    """
    try:
        with opened(path) as image:
            return np.asarray(image.convert("RGB"))
    except UserError as error:
        reason = str(error).removeprefix(f"{path}: ")
        raise ValueError(f"{path}: not a readable image ({reason})") from None


@lru_cache(maxsize=8)  # not more: Part A has images of hundreds of sizes
def _resized(path: Path, size: tuple[int, int], device: torch.device) -> Tensor:
    """Return a picture in 0..1, resized to (H, W), [1, 3, H, W]."""
    pixels = torch.from_numpy(read_picture(path).copy()).to(device)
    picture = pixels.permute(2, 0, 1)[None].float() / 255
    resized = F.interpolate(picture, size, mode="bilinear", antialias=True, align_corners=False)
    return resized.clamp(0, 1)
