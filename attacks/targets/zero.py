"""Zero: all heads are removed, tau(c) = 0. After BadDet, Chan et al., ECCV Workshops, 2022.

BadDet makes an object detector miss objects.
"""

from typing import ClassVar

import numpy as np

from attacks.base import Target
from benchmark.registry import register


@register
class Zero(Target):
    """The false map is empty. There are no settings."""

    increases: ClassVar[bool] = False

    def tau(self, count: int) -> int:
        return 0

    def alter(self, points: np.ndarray, size: tuple[int, int],
              rng: np.random.Generator) -> np.ndarray:
        return points[:0]
