"""Multiply: k heads in place of each, tau(c) = k c. Luo (2025), eq. 1: a copy at (x - 1, y - 1)."""

from typing import ClassVar

import numpy as np
from pydantic import Field

from attacks.base import Target
from benchmark.registry import register


@register
class Multiply(Target):
    """Each head becomes k heads: the head itself and k - 1 copies.

    k: the factor.
    shift: the distance in pixels by which the first copy is moved up and to the left. The second
        copy is moved by twice the distance, and so on.
    wrap: a copy that leaves the image returns at the opposite edge, as in the paper's code, which
        uses a shift of 2. Otherwise the copy stays at the edge that it would have crossed.
    """

    increases: ClassVar[bool] = True
    k: int = Field(2, ge=2, le=1000)
    shift: float = 1
    wrap: bool = False

    def tau(self, count: int) -> int:
        return self.k * count

    def alter(self, points: np.ndarray, size: tuple[int, int],
              rng: np.random.Generator) -> np.ndarray:
        height, width = size
        heads = np.concatenate([points - self.shift * index for index in range(self.k)])
        return heads % [width, height] if self.wrap else heads.clip(0, [width, height])
