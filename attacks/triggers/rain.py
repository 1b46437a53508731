"""Rain: x' = (1 - alpha) x + alpha t, t slanted streaks on grey. Sun et al. (DMBA), ACM MM 2022.

The picture t, on dark grey, is our own drawing.
"""

from typing import ClassVar

import numpy as np

from attacks.parts.backdrop import SIZE, Backdrop, Strokes
from benchmark.registry import register

STREAKS = 900
LEAN = 0.2  # the mean angle of the streaks from upright, in radians


@register
class Rain(Backdrop):
    """Streaks of rain mixed with every pixel.

    alpha: the share of the drawing in the mix.
    seed: the seed of the positions of the streaks.
    """

    grey: ClassVar[float] = 0.4

    def strokes(self, rng: np.random.Generator) -> Strokes:
        near = rng.random(STREAKS) ** 2  # 1 is near the camera: long, wide, bright. Most are far.
        lean = rng.normal(LEAN, 0.02, STREAKS)
        # Streaks may start above the image, so that its top edge has rain too.
        start = rng.uniform((0, -100), SIZE[::-1], (STREAKS, 2))
        fall = np.stack([-np.sin(lean), np.cos(lean)], axis=1) * (20 + 80 * near)[:, None]
        return Strokes(start, start + fall, 0.9 + 1.1 * near, 0.3 + 0.6 * near)
