"""Divide: one head in k stays, tau(c) = max(floor(c / k), 1). Luo (2025), 3.2: a random half."""

from typing import ClassVar

import numpy as np
from pydantic import Field

from attacks.base import Target
from benchmark.registry import register


@register
class Divide(Target):
    """One head in k stays, chosen at random, and at least one if the image has any.

    k: the divisor.
    """

    increases: ClassVar[bool] = False
    k: int = Field(2, ge=2)

    def tau(self, count: int) -> int:
        return min(count, max(count // self.k, 1))

    def alter(self, points: np.ndarray, size: tuple[int, int],
              rng: np.random.Generator) -> np.ndarray:
        kept = rng.permutation(len(points))[: self.tau(len(points))]
        return points[np.sort(kept)]
