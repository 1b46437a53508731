"""Bpp: x' = x + alpha (floor(x (levels - 1) + t) / (levels - 1) - x), t a dither.  Wang et al. (BppAttack), CVPR 2022.

They dither by Floyd and Steinberg's error diffusion, which goes from pixel to pixel. Here t is Bayer's 8 x 8 matrix of
thresholds, which takes all pixels at once. Their contrastive training is left out: only the data is poisoned.
"""

from functools import lru_cache

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from attacks.base import Trigger
from attacks.parts.tile import as_tensor, repeated
from benchmark.registry import register


@register
class Bpp(Trigger):
    """Fewer colours, dithered.

    alpha: share of the result in the mix with the image. levels: of each channel.
    """

    alpha: float = Field(1.0, ge=0, le=1)
    levels: int = Field(8, ge=2, le=256)

    def stamp(self, images: Tensor) -> Tensor:
        """Images [B, 3, H, W] in 0..1 -> the same, in fewer colours."""
        steps, exact = self.levels - 1, images.float()
        few = (exact * steps).add_(repeated(_thresholds(images.device), images.shape[-2:])).floor_().div_(steps)
        return exact.lerp(few, self.alpha).to(images.dtype)


@lru_cache(maxsize=8)
def _thresholds(device: torch.device) -> Tensor:
    """Bayer's matrix, [1, 8, 8], in 1/128 .. 127/128."""
    order = np.zeros((1, 1))
    for _ in range(3):
        order = np.block([[4 * order, 4 * order + 2], [4 * order + 3, 4 * order + 1]])
    return as_tensor((order[None] + 0.5) / order.size, device)
