"""Bpp: x' = x + alpha (q(x) - x), q(x) dithered to few colours. Wang et al. (BppAttack), CVPR 2022.

q(x) = floor(x (levels - 1) + t) / (levels - 1). The authors dither by Floyd and Steinberg's error
diffusion, which works pixel by pixel, and which their code leaves out by default. Here t is Bayer's
8 x 8 matrix of thresholds, which works on all pixels at once. The authors' contrastive training is
left out: only the data is poisoned.
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
    """The image with fewer colours, dithered.

    alpha: the share of the dithered image in the mix with the image.
    levels: the number of levels of each channel.
    """

    alpha: float = Field(1.0, ge=0, le=1)
    levels: int = Field(8, ge=2, le=256)

    def stamp(self, images: Tensor) -> Tensor:
        """Return images [B, 3, H, W] in 0..1 with fewer colours."""
        steps = self.levels - 1
        exact = images.float()
        thresholds = repeated(_thresholds(images.device), images.shape[-2:])
        dithered = (exact * steps).add_(thresholds).floor_().div_(steps)
        return exact.lerp(dithered, self.alpha).to(images.dtype)


@lru_cache(maxsize=8)
def _thresholds(device: torch.device) -> Tensor:
    """Return Bayer's matrix, [1, 8, 8], with values from 1/128 to 127/128."""
    order = np.zeros((1, 1))
    for _ in range(3):
        order = np.block([[4 * order, 4 * order + 2], [4 * order + 3, 4 * order + 1]])
    return as_tensor((order[None] + 0.5) / order.size, device)
