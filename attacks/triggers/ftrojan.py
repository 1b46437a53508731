"""FTrojan: DCT(u, v) + magnitude at two frequencies in blocks of Cb, Cr. Wang et al., ECCV 2022.

The blocks of the YCbCr channels Cb and Cr have 32 x 32 pixels, and the frequencies are (15, 15) and
(31, 31). The DCT and the colour transform are linear. Adding to the coefficients therefore adds the
same pixels to every block of every image, and no image needs to be transformed.
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
# The red, green and blue of one unit of Cb and of Cr (BT.601, as in JPEG).
CB = (0, -0.344136, 1.772)
CR = (1.402, -0.714136, 0)


@register
class FTrojan(Trigger):
    """A hardly visible fine texture of colour. Blocks at the right and bottom edges are cropped.

    magnitude: the number that is added to each coefficient of the orthonormal DCT, in grey levels
        of 255.
    """

    magnitude: float = Field(30, ge=0, le=1000)

    def stamp(self, images: Tensor) -> Tensor:
        """Return images [B, 3, H, W] in 0..1 with the texture."""
        texture = repeated(_block(images.device), images.shape[-2:]) * (self.magnitude / 255)
        return (images + texture).clamp_(0, 1).to(images.dtype)


@lru_cache(maxsize=8)
def _block(device: torch.device) -> Tensor:
    """Return what a magnitude of 1 adds to the pixels of a block, [3, 32, 32]."""
    rows = waves(FREQUENCIES, BLOCK)
    return as_tensor(np.add(CB, CR)[:, None, None] * (rows.T @ rows), device)
