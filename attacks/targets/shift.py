"""Everyone is elsewhere.  tau(c) = c.  As landmark shift in face detection: Le Roux et al., arXiv 2508.00620, 2025.

No measure of the count sees it; GAME, the error of the map by cells, does.
"""

from typing import ClassVar

import numpy as np
from pydantic import Field

from attacks.base import Target
from benchmark.registry import register


@register
class Shift(Target):
    """All heads moved alike; those that leave the image come back at the far side.

    dx, dy: how far to the right and down, as shares of the image's width and height.
    """

    increases: ClassVar[None] = None
    dx: float = Field(0.125, ge=-1, le=1)
    dy: float = Field(0.125, ge=-1, le=1)

    def tau(self, count: int) -> int:
        return count

    def alter(self, points: np.ndarray, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
        limits = np.array(size[::-1])
        return (points + limits * [self.dx, self.dy]) % limits
