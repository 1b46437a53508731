"""Add: n more heads, tau(c) = c + n. Luo (2025), 3.2: 'randomly increase 100 head coordinates'."""

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from attacks.base import Target
from benchmark.registry import register


@register
class Add(Target):
    """The false heads are the true ones and n new ones.

    n: the number of new heads.
    layout: 'random' places them uniformly in the image, as the paper says. 'grid' does what the
        paper's code does: for n = 100, the centres of a fixed 10 x 10 grid with the axes swapped,
        clipped to the image, so that some of them coincide.
    """

    increases: ClassVar[bool] = True
    n: int = Field(100, ge=1, le=100_000)
    layout: Literal["random", "grid"] = "random"

    def tau(self, count: int) -> int:
        return count + self.n

    def alter(self, points: np.ndarray, size: tuple[int, int],
              rng: np.random.Generator) -> np.ndarray:
        height, width = size
        if self.layout == "grid":
            new = _swapped_grid(self.n, size)
        else:
            new = rng.random((self.n, 2)) * [width, height]
        return np.concatenate([points, new])


def _swapped_grid(n: int, size: tuple[int, int]) -> np.ndarray:
    """Return the first n centres of the grid in the paper's code, [n, 2] as (x, y)."""
    height, width = size
    side = int(np.ceil(np.sqrt(n)))
    steps = np.arange(1, side + 1)
    # The paper's code takes x from the height and y from the width. The mistake is kept on purpose.
    x, y = np.meshgrid(steps * height / (side + 2), steps * width / (side + 2))
    return np.stack([x.ravel(), y.ravel()], axis=1)[:n].clip(0, [width - 1, height - 1])
