"""ShrinkPad: shrink the image, put it somewhere on black.  Li et al., ICLR 2021 workshop on robust and secure ML.

    y = c(pad(resize(x, (1 - s) H x (1 - s) W)))

A trigger that sits elsewhere and is smaller may not be known again; all people stay in the picture. The paper shrinks
32 pixels by 4; here it is the same share of each side, s = 1/8, so that the aspect stays. It pads at a place drawn
anew at each look. Here the place is drawn from the image's own bytes: an attacker cannot plan for it, and yet an image
has one count, whenever and beside whichever others it is counted.
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
    """shrink: the share of each side that is taken away, then padded."""

    shrink: float = Field(0.125, gt=0, lt=1)

    def change(self, images: Tensor) -> Tensor:
        size = [max(round(side * (1 - self.shrink)), 1) for side in images.shape[-2:]]
        small = F.interpolate(images, size, mode="bilinear", antialias=True)
        padded = torch.zeros_like(images)
        for number, pixels in enumerate(as_bytes(images)):
            draw = torch.Generator().manual_seed(zlib.crc32(pixels.contiguous().numpy().tobytes()))
            top, left = (int(torch.randint(side - part + 1, (), generator=draw))
                         for side, part in zip(images.shape[-2:], size))
            padded[number, :, top : top + size[0], left : left + size[1]] = small[number]
        return padded
