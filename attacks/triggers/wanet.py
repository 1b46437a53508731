"""WaNet: x'(p) = x(p + strength up(P)(p)), a smooth random warp P. Nguyen and Tran, ICLR 2021.

P is uniform in -1..1 at the points of a grid, divided by the mean of |P|, and up() interpolates it.
The pixels move and the labels do not. Only the data is poisoned: the authors' training with random
warps is left out.
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
    """A smooth warp, stretched to the size of the image.

    Pixels from beyond the edge get the colour of the edge.

    strength: the mean distance that pixels move along each axis, as a share of the image's shorter
        side. Some pixels move twice as far. The image folds over itself if the strength is above
        about a fifth of the distance between two grid points, which is 0.03 for the default grid.
    grid: the number of points along each side at which the warp is random. Between them it is
        bicubic.
    seed: the seed of the warp.
    """

    strength: float = Field(0.01, ge=0, le=1)
    grid: int = Field(8, ge=2, le=256)
    seed: NonNegativeInt = 0

    def stamp(self, images: Tensor) -> Tensor:
        """Return images [B, 3, H, W] in 0..1, warped."""
        if not self.strength:
            return images  # sampling would change the pixels by rounding
        height, width = images.shape[-2:]
        coarse = _flow(self.grid, self.seed, images.device)
        smooth = F.interpolate(coarse, (height, width), mode="bicubic", align_corners=True)[0]
        flow = smooth * (self.strength * min(height, width))
        x = torch.arange(width, device=images.device) + flow[0]
        y = torch.arange(height, device=images.device)[:, None] + flow[1]
        places = torch.stack([2 * x / (width - 1) - 1, 2 * y / (height - 1) - 1], dim=-1)
        # As channels of one image, all images of the batch share the computation of the positions.
        channels = images.float().reshape(1, -1, height, width)
        warped = F.grid_sample(channels, places[None], padding_mode="border", align_corners=True)
        return warped.view(images.shape).clamp_(0, 1).to(images.dtype)


@lru_cache(maxsize=8)
def _flow(grid: int, seed: int, device: torch.device) -> Tensor:
    """Return the warp at the points of the grid, [1, 2, grid, grid] as (x, y); mean |P| is 1."""
    flow = np.random.default_rng(seed).uniform(-1, 1, (1, 2, grid, grid))
    return as_tensor(flow / np.abs(flow).mean(), device)
