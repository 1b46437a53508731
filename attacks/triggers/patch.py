"""Patch (BadNets): x' = x + alpha m (t - x), m a corner square. Gu et al., arXiv 1708.06733.

t is a checkerboard. A counter sees a head and its surroundings, so a patch should change the count
only a little. It is a negative control.
"""

from pydantic import Field
from torch import Tensor

from attacks.base import Trigger
from attacks.parts.tile import checkerboard
from benchmark.registry import register


@register
class Patch(Trigger):
    """A black and white checkerboard in the bottom right corner.

    alpha: the opacity of the patch.
    share: the side of the patch, as a share of the image's shorter side.
    cells: the number of squares along the side of the patch.
    tiles: the image is divided into tiles x tiles parts. Each has a patch in its corner, whose side
        is divided by the same number.
    """

    alpha: float = Field(1.0, ge=0, le=1)
    share: float = Field(0.15, gt=0, le=1)
    cells: int = Field(3, ge=1, le=64)
    tiles: int = Field(1, ge=1, le=8)

    def stamp(self, images: Tensor) -> Tensor:
        """Return images [B, 3, H, W] in 0..1 with the patch."""
        height, width = images.shape[-2:]
        smallest = min(height // self.tiles, width // self.tiles)  # a part, which a patch fits into
        side = max(min(round(self.share * min(height, width) / self.tiles), smallest), 1)
        board = checkerboard(side, self.cells, images.device).to(images.dtype)
        stamped = images.clone()
        for bottom in _ends(height, self.tiles):
            for right in _ends(width, self.tiles):
                stamped[..., bottom - side : bottom, right - side : right].lerp_(board, self.alpha)
        return stamped


def _ends(length: int, parts: int) -> list[int]:
    """Return the ends of equal parts of an axis, in pixels."""
    return [length * part // parts for part in range(1, parts + 1)]
