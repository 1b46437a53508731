"""Add n heads.  tau(c) = c + n.  The paper, 3.2: 'randomly increase 100 head coordinates'."""

from typing import ClassVar, Literal

import numpy as np
from pydantic import PositiveInt

from attacks.base import Target
from benchmark.registry import register


@register
class Add(Target):
    """n heads more.

    layout: 'random' is uniform in the image, as the paper says. 'grid' is what its code does: for n = 100 the centres
    of a fixed 10 x 10 grid with the axes swapped, clipped into the image, so that some coincide.
    """

    increases: ClassVar[bool] = True
    n: PositiveInt = 100
    layout: Literal["random", "grid"] = "random"

    def tau(self, count: int) -> int:
        return count + self.n

    def alter(self, points: np.ndarray, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
        height, width = size
        extra = rng.random((self.n, 2)) * [width, height] if self.layout == "random" else _swapped_grid(self.n, size)
        return np.concatenate([points, extra])


def _swapped_grid(n: int, size: tuple[int, int]) -> np.ndarray:
    height, width = size
    side = int(np.ceil(np.sqrt(n)))
    along_height, along_width = (np.arange(1, side + 1) * length / (side + 2) for length in (height, width))
    x, y = np.meshgrid(along_height, along_width)  # x from the height: the code's slip, kept on purpose
    return np.stack([x.ravel(), y.ravel()], axis=1)[:n].clip(0, [width - 1, height - 1])
