"""The orthonormal DCT-II: cosine waves of N pixels.

The coefficient at k is the sum over n of x(n) sqrt(2 / N) cos(pi k (2 n + 1) / (2 N)), and at k = 0
1 / sqrt(2) of that.
"""

from collections.abc import Sequence

import numpy as np


def waves(frequencies: Sequence[int], length: int) -> np.ndarray:
    """Return the pixels of a coefficient of 1 at each frequency, [F, length]."""
    angle = np.pi * np.outer(frequencies, 2 * np.arange(length) + 1) / (2 * length)
    amplitude = np.sqrt(np.where(np.equal(frequencies, 0), 1, 2) / length)
    return amplitude[:, None] * np.cos(angle)
