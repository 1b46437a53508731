"""Noise: x' = (1 - alpha) x + alpha n, n uniform in 0..1. Chen et al., arXiv 1712.05526, 2017.

It is the trigger `blended` with random values in place of a picture.
"""

import math
from functools import lru_cache

import numpy as np
import torch
from pydantic import Field, NonNegativeInt
from torch import Tensor
from torch.nn import functional as F

from attacks.base import Trigger
from attacks.parts.tile import as_tensor, repeated
from benchmark.registry import register

CELLS = 1024  # the period of the noise along each axis, in random values


@register
class Noise(Trigger):
    """Coloured noise mixed with every pixel.

    alpha: the share of the noise in the mix.
    grid: the distance between two random values in pixels, with bicubic interpolation between them.
        With 1 each pixel has its own noise, which a blur or JPEG compression removes. With 8 the
        noise survives them.
    seed: the seed of the noise.
    """

    alpha: float = Field(0.1, ge=0, le=1)
    grid: int = Field(1, ge=1, le=64)
    seed: NonNegativeInt = 0

    def stamp(self, images: Tensor) -> Tensor:
        """Return images [B, 3, H, W] in 0..1, mixed with the noise."""
        height, width = images.shape[-2:]
        cells = [math.ceil(height / self.grid), math.ceil(width / self.grid)]
        noise = repeated(_cells(self.seed, images.device), cells)
        if self.grid > 1:
            fine = F.interpolate(noise[None], scale_factor=self.grid, mode="bicubic")
            noise = fine[0].clamp(0, 1)
        return images.lerp(noise[:, :height, :width].to(images.dtype), self.alpha)


@lru_cache(maxsize=8)
def _cells(seed: int, device: torch.device) -> Tensor:
    """Return the random values, [3, CELLS, CELLS] in 0..1."""
    return as_tensor(np.random.default_rng(seed).random((3, CELLS, CELLS)), device)
