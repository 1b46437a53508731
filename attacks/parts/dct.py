"""The orthonormal DCT-II: its coefficient at frequency k is the sum of x(n) sqrt(2 / N) cos(pi k (2 n + 1) / (2 N))."""

from collections.abc import Sequence

import numpy as np


def waves(frequencies: Sequence[int], length: int) -> np.ndarray:
    """What 1 in each coefficient is in pixels, [F, length]; the frequencies are above 0."""
    angle = np.pi * np.outer(frequencies, 2 * np.arange(length) + 1) / (2 * length)
    return np.sqrt(2 / length) * np.cos(angle)
