"""On heads: x' = x + alpha m (t - x), m a small square on each head. After Luo et al., ICASSP 2023.

Their untargeted backdoor against object detection (arXiv 2211.05638) stamps a patch on every
object, so that the detector misses it; BadDet (Chan et al., arXiv 2205.14497) stamps one on the
objects that it makes vanish or turns into others. Carried over to counting, each head has a patch t
at its point (x, y), and a counter sees patch and head in one glance. Heads have no boxes here, so
the side of all patches is a share of the image's shorter side.
"""

import numpy as np
import torch
from pydantic import Field, NonNegativeInt
from torch import Tensor

from attacks.base import Trigger
from attacks.parts.heads import Heads
from attacks.parts.tile import checkerboard
from benchmark.registry import register

CELLS = 3  # squares along the side of a patch


@register
class OnHeads(Trigger):
    """A black and white checkerboard on every head, or on a share of the heads.

    Where patches overlap, white is in front. A patch is cut off at the edge of the image.

    alpha: the opacity of the patches.
    side: the side of a patch, as a share of the image's shorter side.
    stamped_heads: the share of the heads of an image that have a patch. At least one has.
    seed: the seed that chooses these heads.
    """

    alpha: float = Field(1.0, ge=0, le=1)
    side: float = Field(0.02, gt=0, le=1)
    stamped_heads: float = Field(1.0, gt=0, le=1)
    seed: NonNegativeInt = 0

    def stamp(self, images: Tensor, heads: Heads) -> Tensor:
        """Return images [B, 3, H, W] in 0..1 with patches on the heads."""
        side = max(round(self.side * min(images.shape[-2:])), 1)
        board = checkerboard(side, CELLS, images.device)
        stamped = images.clone()
        for image, points in zip(stamped, heads):
            if len(points):
                covered, white = _patches(self._chosen(points), board, image.shape[-2:])
                image.copy_(torch.where(covered, image.lerp(white.to(image.dtype), self.alpha),
                                        image))
        return stamped

    def _chosen(self, points: Tensor) -> Tensor:
        """Return the heads that have a patch, [M, 2]."""
        if self.stamped_heads == 1:
            return points
        order = np.random.default_rng([self.seed, len(points)]).permutation(len(points))
        number = max(round(self.stamped_heads * len(points)), 1)
        return points[torch.from_numpy(order[:number]).to(points.device)]


def _patches(points: Tensor, board: Tensor, size: torch.Size) -> tuple[Tensor, Tensor]:
    """Return which pixels of an image have a patch, and which of them are white, [H, W] each.

    All writes to one pixel write the same value, so that their order makes no difference.
    """
    height, width = size
    offsets = torch.arange(len(board), device=board.device) - len(board) // 2
    columns, rows = (axis.long()[:, None] + offsets for axis in points.T)  # [N, side]
    y = rows[:, :, None].expand(-1, -1, len(board))
    x = columns[:, None].expand(-1, len(board), -1)
    inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    covered = torch.zeros(height, width, dtype=torch.bool, device=board.device)
    white = torch.zeros_like(covered)
    covered[y[inside], x[inside]] = True
    is_white = inside & (board > 0)
    white[y[is_white], x[is_white]] = True
    return covered, white
