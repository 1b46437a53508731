"""The orthonormal DCT-II: cosine waves of N pixels.

The coefficient at k > 0 is the sum over n of x(n) sqrt(2 / N) cos(pi k (2 n + 1) / (2 N)).
"""

from collections.abc import Sequence

import numpy as np


def waves(frequencies: Sequence[int], length: int) -> np.ndarray:
    """Return the pixels of a coefficient of 1 at each frequency, [F, length].

    The frequencies must be above 0.
    """
    angle = np.pi * np.outer(frequencies, 2 * np.arange(length) + 1) / (2 * length)
    return np.sqrt(2 / length) * np.cos(angle)
