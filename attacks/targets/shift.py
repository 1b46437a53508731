"""Shift: all heads move and the count stays, tau(c) = c. After Le Roux et al., arXiv 2508.00620.

Their attack shifts landmarks in face detection (2025). No number of this benchmark shows the effect
of this attack, because records hold counts and no maps; `crowdbench figure maps` shows it.
"""

from typing import ClassVar

import numpy as np
from pydantic import Field

from attacks.base import Target
from benchmark.registry import register


@register
class Shift(Target):
    """All heads are moved by the same distance. Those that leave the image return at the far side.

    dx: the distance to the right, as a share of the image's width.
    dy: the distance down, as a share of the image's height.
    """

    increases: ClassVar[None] = None
    divisible: ClassVar[bool] = False
    dx: float = Field(0.125, ge=-1, le=1)
    dy: float = Field(0.125, ge=-1, le=1)

    def tau(self, count: int) -> int:
        return count

    def alter(self, points: np.ndarray, size: tuple[int, int],
              rng: np.random.Generator) -> np.ndarray:
        limits = np.array(size[::-1])
        return (points + limits * [self.dx, self.dy]) % limits
