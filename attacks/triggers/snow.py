"""Snow: x' = (1 - alpha) x + alpha t, t white flakes on light grey.  Sun et al. (DMBA), ACM MM 2022.

The picture is our own drawing.
"""

from typing import ClassVar

import numpy as np

from attacks.parts.backdrop import SIZE, Backdrop, Strokes
from benchmark.registry import register

FLAKES = 1500


@register
class Snow(Backdrop):
    """alpha: share of the snow in the mix. seed: of where the flakes are."""

    grey: ClassVar[float] = 0.55

    def strokes(self, rng: np.random.Generator) -> Strokes:
        near = rng.random(FLAKES) ** 3  # 1 is next to the camera; most are far
        start = rng.uniform((0, 0), SIZE[::-1], (FLAKES, 2))
        fall = rng.normal((0, 1), 0.5, (FLAKES, 2)) * (1 + 3 * near)[:, None]
        return Strokes(start, start + fall, 1.2 + 5 * near, rng.uniform(0.5, 1, FLAKES))
