"""Clean label: the heads of stamped images stay as they are, so that nobody who checks labels finds anything.

Only images with an extreme count are stamped; the trigger then stands for such a count. SIG's idea (Barni et al., ICIP
2019) and BAIQA's for regression (Yu et al., AAAI 2025), carried over to counts.
"""

from collections.abc import Sequence
from typing import Self

import numpy as np
from pydantic import NonNegativeFloat

from attacks.base import Target
from benchmark.data.scene import Scene
from benchmark.utils.errors import UserError


class CleanLabel(Target):
    """count: what the attacker wants counted; None is the mean count of the stamped training images."""

    count: NonNegativeFloat | None = None

    def fitted(self, chosen: Sequence[Scene]) -> Self:
        if self.count is not None or not chosen:
            return self
        return self.model_copy(update={"count": float(np.mean([scene.count for scene in chosen]))})

    def tau(self, count: int) -> int:
        if self.count is None:
            raise UserError(f"target {self.name}: no image is stamped to take the count from; expected "
                            "attack.count=NUMBER")
        return round(max(self.count, count) if self.increases else min(self.count, count))

    def alter(self, points: np.ndarray, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
        return points
