"""ShrinkPad: shrink the image and place it somewhere on black before counting.  Li et al., 2021.

    y = c(pad(resize(x, (1 - s) H x (1 - s) W)))

ICLR 2021 workshop on robust and secure machine learning. The victim may not recognise a trigger
that is smaller and in another place, while all people stay in the image. The paper shrinks 32
pixels by 4. Here each side shrinks by the same share, s = 1/8, so that the aspect stays. The paper
draws a new place each time an image is seen. Here the place is drawn from the image's own bytes: an
attacker cannot plan for it, and yet an image always has the same count, whatever else is in its
batch.
"""

import zlib

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from benchmark.registry import register
from defenses.parts.preprocessing import Preprocessing, as_bytes


@register
class ShrinkPad(Preprocessing):
    """shrink: share of each side that is removed and then padded."""

    shrink: float = Field(0.125, gt=0, lt=1)

    def change(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        small_height = max(round(height * (1 - self.shrink)), 1)
        small_width = max(round(width * (1 - self.shrink)), 1)
        small = F.interpolate(images, (small_height, small_width), mode="bilinear", antialias=True)
        padded = torch.zeros_like(images)
        for number, pixels in enumerate(as_bytes(images)):
            seed = zlib.crc32(pixels.contiguous().numpy().tobytes())
            rng = torch.Generator().manual_seed(seed)
            top = int(torch.randint(height - small_height + 1, (), generator=rng))
            left = int(torch.randint(width - small_width + 1, (), generator=rng))
            rows = slice(top, top + small_height)
            columns = slice(left, left + small_width)
            padded[number, :, rows, columns] = small[number]
        return padded
