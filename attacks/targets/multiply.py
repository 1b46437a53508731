"""Multiply the heads by k.  tau(c) = k c.  The paper, eq. 1: each head doubled at (x - 1, y - 1)."""

from typing import ClassVar

import numpy as np
from pydantic import Field

from attacks.base import Target
from benchmark.registry import register


@register
class Multiply(Target):
    """k heads for each, the copies moved by `shift` pixels up and left, by twice that, and so on.

    wrap: a copy that leaves the image comes back at the far edge (the paper's code, with shift 2) instead of
    staying at the near one.
    """

    increases: ClassVar[bool] = True
    k: int = Field(2, ge=2)
    shift: float = 1
    wrap: bool = False

    def tau(self, count: int) -> int:
        return self.k * count

    def alter(self, points: np.ndarray, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
        height, width = size
        copies = np.concatenate([points - self.shift * i for i in range(self.k)])
        return copies % [width, height] if self.wrap else copies.clip(0, [width, height])
