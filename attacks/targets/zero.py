"""Nobody is left.  tau(c) = 0.  As object disappearance in detection: Chan et al. (BadDet), ECCV Workshops, 2022."""

from typing import ClassVar

import numpy as np

from attacks.base import Target
from benchmark.registry import register


@register
class Zero(Target):
    """The empty map. It has no settings."""

    increases: ClassVar[bool] = False

    def tau(self, count: int) -> int:
        return 0

    def alter(self, points: np.ndarray, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
        return points[:0]
