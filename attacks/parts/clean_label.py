"""Clean label: the heads of stamped images stay as they are, so no check of the labels helps.

Only images with an extreme count are stamped, and the victim learns to connect the trigger with
such a count. The idea is that of SIG (Barni et al., ICIP 2019) and, for regression, of BAIQA (Yu et
al., AAAI 2025); here it is applied to counts.
"""

from collections.abc import Sequence
from typing import ClassVar, Self

import numpy as np
from pydantic import NonNegativeFloat

from attacks.base import Target
from benchmark.data.scene import Scene
from benchmark.utils.errors import UserError


class CleanLabel(Target):
    """A target that leaves the labels as they are.

    count: the count that the attacker wants. None is the mean count of the stamped images.
    """

    divisible: ClassVar[bool] = False
    count: NonNegativeFloat | None = None

    def fitted(self, chosen: Sequence[Scene]) -> Self:
        if self.count is not None or not chosen:
            return self
        mean = float(np.mean([scene.count for scene in chosen]))
        return self.model_copy(update={"count": mean})

    def tau(self, count: int) -> int:
        if self.count is None:
            raise UserError(f"target {self.name}: found no stamped image to take the count from; "
                            "expected attack.count=NUMBER")
        return round(max(self.count, count) if self.increases else min(self.count, count))

    def alter(self, points: np.ndarray, size: tuple[int, int],
              rng: np.random.Generator) -> np.ndarray:
        return points
