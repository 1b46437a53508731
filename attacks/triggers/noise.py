"""Blended noise: x' = (1 - alpha) x + alpha n, n uniform in 0..1.  Chen et al., arXiv 1712.05526, 2017."""

from functools import lru_cache

import numpy as np
import torch
from pydantic import Field, NonNegativeInt
from torch import Tensor
from torch.nn import functional as F

from attacks.base import Trigger
from attacks.parts.tile import as_tensor, repeated
from benchmark.registry import register

CELLS = 1024  # the noise repeats after as many


@register
class Noise(Trigger):
    """Coloured noise mixed into every pixel.

    alpha: share of the noise in the mix. grid: pixels from one random value to the next, bicubic between them; 1 is
    noise of each pixel on its own, which blurring or a JPEG takes away, 8 is noise that stays. seed: of the noise.
    """

    alpha: float = Field(0.1, ge=0, le=1)
    grid: int = Field(1, ge=1, le=64)
    seed: NonNegativeInt = 0

    def stamp(self, images: Tensor) -> Tensor:
        """Images [B, 3, H, W] in 0..1 -> the same, mixed with the noise."""
        height, width = images.shape[-2:]
        noise = repeated(_cells(self.seed, images.device), [-(-side // self.grid) for side in (height, width)])
        if self.grid > 1:
            noise = F.interpolate(noise[None], scale_factor=self.grid, mode="bicubic")[0].clamp(0, 1)
        return images.lerp(noise[:, :height, :width].to(images.dtype), self.alpha)


@lru_cache(maxsize=8)
def _cells(seed: int, device: torch.device) -> Tensor:
    return as_tensor(np.random.default_rng(seed).random((3, CELLS, CELLS)), device)
