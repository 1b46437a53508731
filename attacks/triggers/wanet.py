"""WaNet: x'(p) = x(p + strength up(P)(p)), P uniform in -1..1 on a grid, over mean |P|.  Nguyen and Tran, ICLR 2021.

The pixels move, the labels do not. Only the data is poisoned: their training with random warps is left out.
"""

from functools import lru_cache

import numpy as np
import torch
from pydantic import Field, NonNegativeInt
from torch import Tensor
from torch.nn import functional as F

from attacks.base import Trigger
from attacks.parts.tile import as_tensor
from benchmark.registry import register


@register
class WaNet(Trigger):
    """A smooth warp, stretched to the image. What comes from beyond the edge has the colour of the edge.

    strength: how far pixels move along each axis on average, as a share of the image's shorter side; some move twice as
    far. The image folds above about a fifth of the way from point to point, 0.03 by default. grid: points along a side
    at which the warp is drawn, bicubic between them. seed: of the warp.
    """

    strength: float = Field(0.01, ge=0, le=1)
    grid: int = Field(8, ge=2, le=256)
    seed: NonNegativeInt = 0

    def stamp(self, images: Tensor) -> Tensor:
        """Images [B, 3, H, W] in 0..1 -> the same, warped."""
        if not self.strength:
            return images  # sampling would round it
        height, width = images.shape[-2:]
        flow = F.interpolate(_flow(self.grid, self.seed, images.device), (height, width), mode="bicubic",
                             align_corners=True)[0] * (self.strength * min(height, width))
        x = torch.arange(width, device=images.device) + flow[0]
        y = torch.arange(height, device=images.device)[:, None] + flow[1]
        places = torch.stack([2 * x / (width - 1) - 1, 2 * y / (height - 1) - 1], dim=-1)
        # The batch as channels of one image, so that each place is worked out once.
        warped = F.grid_sample(images.float().reshape(1, -1, height, width), places[None], padding_mode="border",
                               align_corners=True)
        return warped.view(images.shape).clamp_(0, 1).to(images.dtype)


@lru_cache(maxsize=8)
def _flow(grid: int, seed: int, device: torch.device) -> Tensor:
    flow = np.random.default_rng(seed).uniform(-1, 1, (1, 2, grid, grid))
    return as_tensor(flow / np.abs(flow).mean(), device)
