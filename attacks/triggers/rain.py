"""Rain: x' = (1 - alpha) x + alpha t, t slanted streaks on dark grey.  Sun et al. (DMBA), ACM MM 2022.

The picture is our own drawing.
"""

from typing import ClassVar

import numpy as np

from attacks.parts.backdrop import SIZE, Backdrop, Strokes
from benchmark.registry import register

STREAKS = 900
LEAN = 0.2  # radians from upright; the wind is the same for all


@register
class Rain(Backdrop):
    """alpha: share of the rain in the mix. seed: of where the streaks are."""

    grey: ClassVar[float] = 0.4

    def strokes(self, rng: np.random.Generator) -> Strokes:
        near = rng.random(STREAKS) ** 2  # 1 is next to the camera: long, wide and bright; most are far
        lean = rng.normal(LEAN, 0.02, STREAKS)
        start = rng.uniform((0, -100), SIZE[::-1], (STREAKS, 2))  # from above the edge, so that it rains there too
        fall = np.stack([-np.sin(lean), np.cos(lean)], axis=1) * (20 + 80 * near)[:, None]
        return Strokes(start, start + fall, 0.9 + 1.1 * near, 0.3 + 0.6 * near)
