"""Region: the people in a box vanish, tau = the heads outside the box. After Li et al., 2021.

It carries their fine-grained attacks on segmentation over to counting: Hidden Backdoor Attack
against Semantic Segmentation Models, arXiv 2103.04038.
"""

from typing import ClassVar

import numpy as np
from pydantic import Field

from attacks.base import Target
from benchmark.registry import register


@register
class Region(Target):
    """The heads outside the box stay. By default the box is the left half of the image.

    left, width: position and width of the box, as shares of the image's width.
    top, height: position and height of the box, as shares of the image's height.
    """

    increases: ClassVar[bool] = False
    left: float = Field(0.0, ge=0, lt=1)
    top: float = Field(0.0, ge=0, lt=1)
    width: float = Field(0.5, gt=0, le=1)
    height: float = Field(1.0, gt=0, le=1)

    def tau_of(self, points: np.ndarray, size: tuple[int, int]) -> int:
        return len(self._outside(points, size))

    def alter(self, points: np.ndarray, size: tuple[int, int],
              rng: np.random.Generator) -> np.ndarray:
        return self._outside(points, size)

    def _outside(self, points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Return the heads outside the box, whose left and top edges belong to it."""
        x, y = (points / size[::-1] - [self.left, self.top]).T
        return points[(x < 0) | (x >= self.width) | (y < 0) | (y >= self.height)]
