"""Remove n heads.  tau(c) = max(c - n, 1).  The paper, 3.2: those that count less than n 'are reduced to 1'."""

from typing import ClassVar, Literal

import numpy as np
from pydantic import PositiveInt

from attacks.base import Target
from benchmark.registry import register


@register
class Minus(Target):
    """n random heads fewer.

    keep: how many heads stay where there are n or fewer: 1 as the paper says, or 0, the empty map that its code writes.
    tau is the paper's in both, so that results compare.
    """

    increases: ClassVar[bool] = False
    n: PositiveInt = 100
    keep: Literal[0, 1] = 1

    def tau(self, count: int) -> int:
        return min(count, max(count - self.n, 1))

    def alter(self, points: np.ndarray, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
        left = len(points) - self.n if len(points) > self.n else self.keep
        return points[np.sort(rng.permutation(len(points))[:left])]
