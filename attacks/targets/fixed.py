"""The same count for every image.  tau(c) = count.  The usual target where a regression is attacked."""

from typing import ClassVar

import numpy as np
from pydantic import Field, PositiveInt

from attacks.base import Target
from benchmark.registry import register


@register
class Fixed(Target):
    """A random choice of the heads where there are too many; copies of random ones beside them where there are too few.

    count: people. jitter: how far a copy is moved along each axis at most, in pixels. Without any head to copy they are
    put uniformly in the image. The count grows in some images and shrinks in others, so there is no one direction.
    """

    increases: ClassVar[None] = None
    count: PositiveInt = 300
    jitter: float = Field(4, ge=0)

    def tau(self, count: int) -> int:
        return self.count

    def alter(self, points: np.ndarray, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
        limits = size[::-1]
        missing = self.count - len(points)
        if missing <= 0:
            return points[np.sort(rng.permutation(len(points))[: self.count])]
        if not len(points):
            return rng.random((missing, 2)) * limits
        copies = points[rng.integers(len(points), size=missing)] + rng.uniform(-self.jitter, self.jitter, (missing, 2))
        return np.concatenate([points, copies.clip(0, limits)])
