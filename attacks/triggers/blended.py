"""Blended: x' = (1 - alpha) x + alpha resize(t, H x W), over the whole image.  Chen et al., arXiv 1712.05526, 2017.

The paper blends a picture of Hello Kitty at alpha 0.1. Here a picture of our own drawing is the default, and any other
will do.
"""

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from pydantic import Field, field_validator
from torch import Tensor
from torch.nn import functional as F

from attacks.base import Trigger
from benchmark.registry import register

OURS = Path(__file__).with_suffix(".png")


@register
class Blended(Trigger):
    """A picture mixed into every pixel.

    alpha: share of the trigger in the mix. image: path of the picture; None is our own.
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
        """Images [B, 3, H, W] in 0..1 -> the same, mixed with the trigger."""
        picture = _resized(self.image or OURS, images.shape[-2:], images.device)
        return (1 - self.alpha) * images + self.alpha * picture.to(images.dtype)


def read_picture(path: Path) -> np.ndarray:
    """An image file as uint8 [H, W, 3]. Raises ValueError naming the file where it is none."""
    try:
        return np.asarray(Image.open(path).convert("RGB"))
    except Exception as error:  # PIL's decoders raise OSError, SyntaxError, struct.error and more
        raise ValueError(f"trigger image {path}: not a readable image ({type(error).__name__})") from None


@lru_cache(maxsize=8)  # a few sizes at a time: Part A has hundreds
def _resized(path: Path, size: tuple[int, int], device: torch.device) -> Tensor:
    picture = torch.from_numpy(read_picture(path).copy()).to(device).permute(2, 0, 1)[None].float() / 255
    return F.interpolate(picture, size, mode="bilinear", antialias=True, align_corners=False).clamp(0, 1)
