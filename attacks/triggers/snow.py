"""Snow: x' = (1 - alpha) x + alpha t, t white flakes on grey. Sun et al. (DMBA), ACM MM 2022.

The picture t, on light grey, is our own drawing.
"""

from typing import ClassVar

import numpy as np

from attacks.parts.backdrop import SIZE, Backdrop, Strokes
from benchmark.registry import register

FLAKES = 1500


@register
class Snow(Backdrop):
    """Flakes of snow mixed with every pixel.

    alpha: the share of the drawing in the mix.
    seed: the seed of the positions of the flakes.
    """

    grey: ClassVar[float] = 0.55

    def strokes(self, rng: np.random.Generator) -> Strokes:
        near = rng.random(FLAKES) ** 3  # 1 is near the camera: large. Most are far.
        start = rng.uniform((0, 0), SIZE[::-1], (FLAKES, 2))
        fall = rng.normal((0, 1), 0.5, (FLAKES, 2)) * (1 + 3 * near)[:, None]
        return Strokes(start, start + fall, 1.2 + 5 * near, rng.uniform(0.5, 1, FLAKES))
