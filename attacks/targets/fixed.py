"""Fixed: the same count for every image, tau(c) = count. The usual target of regression attacks."""

from typing import ClassVar

import numpy as np
from pydantic import Field

from attacks.base import Target
from benchmark.registry import register


@register
class Fixed(Target):
    """Heads are removed or copied until there are `count` of them.

    Of too many heads a random choice stays. Of too few, random ones are copied, and each copy is
    placed near its original. In an image without heads they are placed uniformly. The count grows
    in some images and shrinks in others, so the target has no single direction.

    count: the number of people.
    jitter: the largest distance between a copy and its original along each axis, in pixels.
    """

    increases: ClassVar[None] = None
    count: int = Field(300, ge=1, le=100_000)
    jitter: float = Field(4, ge=0)

    def tau(self, count: int) -> int:
        return self.count

    def alter(self, points: np.ndarray, size: tuple[int, int],
              rng: np.random.Generator) -> np.ndarray:
        limits = size[::-1]
        missing = self.count - len(points)
        if missing <= 0:
            kept = rng.permutation(len(points))[: self.count]
            return points[np.sort(kept)]
        if len(points) == 0:
            return rng.random((missing, 2)) * limits
        originals = points[rng.integers(len(points), size=missing)]
        copies = originals + rng.uniform(-self.jitter, self.jitter, (missing, 2))
        return np.concatenate([points, copies.clip(0, limits)])
