"""FTrojan: in YCbCr, DCT(u, v) + magnitude at two frequencies of each block of Cb and Cr.  Wang et al., ECCV 2022.

The blocks are of 32 x 32 pixels, the frequencies (15, 15) and (31, 31). The DCT and the colour transform are linear, so
adding to coefficients adds the same block of pixels to every block of every image: no image is transformed.
"""

from functools import lru_cache

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from attacks.base import Trigger
from attacks.parts.dct import waves
from attacks.parts.tile import as_tensor, repeated
from benchmark.registry import register

BLOCK = 32
FREQUENCIES = (15, 31)  # each along both axes
CB, CR = (0, -0.344136, 1.772), (1.402, -0.714136, 0)  # red, green and blue of one unit (BT.601, as in JPEG)


@register
class FTrojan(Trigger):
    """A fine texture of colour, hardly seen. Blocks at the right and bottom are cut where the image ends.

    magnitude: added to each coefficient of the orthonormal DCT, in grey levels of 255.
    """

    magnitude: float = Field(30, ge=0, le=1000)

    def stamp(self, images: Tensor) -> Tensor:
        """Images [B, 3, H, W] in 0..1 -> the same, with the texture."""
        texture = repeated(_block(images.device), images.shape[-2:]) * (self.magnitude / 255)
        return (images + texture).clamp_(0, 1).to(images.dtype)


@lru_cache(maxsize=8)
def _block(device: torch.device) -> Tensor:
    """What 1 added to the coefficients adds to the pixels, [3, 32, 32]."""
    rows = waves(FREQUENCIES, BLOCK)
    return as_tensor(np.add(CB, CR)[:, None, None] * (rows.T @ rows), device)
