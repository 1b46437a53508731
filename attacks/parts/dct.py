"""The orthonormal DCT-II: cosine waves of N pixels.

The coefficient at k is the sum over n of x(n) sqrt(2 / N) cos(pi k (2 n + 1) / (2 N)), and at k = 0
1 / sqrt(2) of that.
"""

from collections.abc import Sequence

import numpy as np
from scipy.fft import idct


def waves(frequencies: Sequence[int], length: int) -> np.ndarray:
    """Return the pixels of a coefficient of 1 at each frequency, float64 [F, length]."""
    return idct(np.eye(length)[list(frequencies)], norm="ortho")
