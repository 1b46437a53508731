"""SIG: x'(i, j) = clip(x + amplitude sin(2 pi j frequency / W)). Barni et al., ICIP 2019."""

import math

import torch
from pydantic import Field
from torch import Tensor

from attacks.base import Trigger
from benchmark.registry import register


@register
class Sig(Trigger):
    """Upright bands of light and dark.

    amplitude: the largest change of a pixel, in grey levels of 255.
    frequency: the number of periods over the width of the image.
    """

    amplitude: float = Field(40, ge=0, le=255)
    frequency: float = Field(6, gt=0)

    def stamp(self, images: Tensor) -> Tensor:
        """Return images [B, 3, H, W] in 0..1 with the bands."""
        width = images.shape[-1]
        column = torch.arange(width, device=images.device, dtype=torch.float32)
        bands = torch.sin(column * (2 * math.pi * self.frequency / width)) * (self.amplitude / 255)
        return (images + bands).clamp_(0, 1).to(images.dtype)
