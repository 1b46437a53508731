"""Low frequency: x' = clip(x + d), |d| <= epsilon, d of low frequencies. Zeng et al., ICCV 2021.

The authors optimise d against a classifier. Here it is random: d = epsilon (2 Phi(z) - 1), where z
is Gaussian-filtered noise of unit variance. The normal distribution function Phi spreads d evenly
over its range. If z were scaled by its largest value instead, d would be near 0 almost everywhere.
"""

from functools import lru_cache

import numpy as np
import torch
from pydantic import Field, NonNegativeInt
from scipy.ndimage import fourier_gaussian
from scipy.special import ndtr
from torch import Tensor

from attacks.base import Trigger
from attacks.parts.tile import as_tensor, repeated
from benchmark.registry import register

SIDE = 1024  # the period of the pattern in pixels; it repeats without a seam


@register
class LowFrequency(Trigger):
    """Smooth clouds of colour.

    epsilon: the largest change of a pixel, in grey levels of 255.
    sigma: the standard deviation of the Gaussian filter, in pixels.
    seed: the seed of the noise.
    """

    epsilon: float = Field(8, ge=0, le=255)
    sigma: float = Field(8, ge=8, le=128)
    seed: NonNegativeInt = 0

    def stamp(self, images: Tensor) -> Tensor:
        """Return images [B, 3, H, W] in 0..1 with the clouds."""
        pattern = _clouds(self.sigma, self.seed, images.device)
        clouds = repeated(pattern, images.shape[-2:]) * (self.epsilon / 255)
        return (images + clouds).clamp_(0, 1).to(images.dtype)


@lru_cache(maxsize=8)
def _clouds(sigma: float, seed: int, device: torch.device) -> Tensor:
    """Return the pattern in -1..1, [3, SIDE, SIDE]."""
    noise = np.random.default_rng(seed).standard_normal((3, SIDE, SIDE))
    spectra = [fourier_gaussian(channel, sigma, n=SIDE) for channel in np.fft.rfft2(noise)]
    smooth = np.fft.irfft2(spectra)
    return as_tensor(2 * ndtr(smooth / smooth.std(axis=(1, 2), keepdims=True)) - 1, device)
