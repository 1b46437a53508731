"""Minus: n heads are removed, tau(c) = max(c - n, 1). Luo (2025), 3.2.

The paper says that counts below n 'are reduced to 1'.
"""

from typing import ClassVar, Literal

import numpy as np
from pydantic import PositiveInt

from attacks.base import Target
from benchmark.registry import register


@register
class Minus(Target):
    """n random heads are removed.

    n: the number of heads that are removed.
    keep: the number of heads that stay in an image with n or fewer: 1 as the paper says, or 0, the
        empty map that the paper's code writes. tau is the paper's with either value, so that
        results are comparable.
    """

    increases: ClassVar[bool] = False
    n: PositiveInt = 100
    keep: Literal[0, 1] = 1

    def tau(self, count: int) -> int:
        return min(count, max(count - self.n, 1))

    def alter(self, points: np.ndarray, size: tuple[int, int],
              rng: np.random.Generator) -> np.ndarray:
        number = len(points) - self.n if len(points) > self.n else self.keep
        kept = rng.permutation(len(points))[:number]
        return points[np.sort(kept)]
