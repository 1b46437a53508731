"""Median smoothing: the median of the counts of noisy copies of an image, with a certificate.

Chiang et al., Detection as regression: certified object detection by median smoothing, NeurIPS
2020. With normal noise e of standard deviation sigma in each pixel,

    y(x) = median of c(x + e),      h_p(x) = the p-quantile of c(x + e),
    h_p-(x) <= y(x + d) <= h_p+(x)  for all |d| <= epsilon,     p-, p+ = Phi(-/+ epsilon / sigma).

The paper turns detection into regression for this bound; a count is a regression already.
`certificate` computes it from a number of copies. It holds for changes of a whole
image in 0..1 whose Euclidean norm is at most epsilon, made at inference. A blended trigger is far
larger than any useful epsilon, so whether it survives the noise is a matter of experiment.

sigma decides the strength. The public code takes 0.25, with a denoiser before the detector, as most
detectors fail in such noise. There is no denoiser here. 0.25 and lower values are tried, and clean
validation images choose; see defenses/parts/strength.py. The public code takes 2000 copies, here
there are 51: the cost is 52 counts of an image. Medians of 51 normal values vary by 0.18 of their
standard deviation, those of 2000 by 0.03.

The noise is drawn from the image's own bytes, as the place is in `shrink_pad`: an image always has
the same count. Of the density maps of the copies, that of the copy with the median count is taken.
"""

import zlib
from collections.abc import Sequence
from functools import partial

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from benchmark.registry import register
from defenses.base import Defense, Knowledge, Knows
from defenses.parts.preprocessing import Preprocessed, as_bytes
from defenses.parts.strength import Candidate, strongest
from models.base import Counter

SIGMAS = (0.015625, 0.03125, 0.0625, 0.125, 0.25)


@register
class MedianSmoothing(Defense):
    """Noise is added, and no weight changes.

    copies: number of noisy copies of an image; of an even number the upper median is taken.
    sigma: standard deviation of the noise, for images in 0..1. None tries 0.25 and a half, a
        quarter, an eighth and a sixteenth of it, and takes the largest one within the budget.
    """

    copies: PositiveInt = 51
    sigma: PositiveFloat | None = None

    @property
    def knows(self) -> Knows:
        return Knows(validation=self.sigma is None)

    def wrap(self, counter: Counter) -> Counter:
        return Smoothed(counter, self.copies, self.sigma or 0.0)

    def apply(self, victim: Counter, knowledge: Knowledge) -> Counter:
        sigmas = SIGMAS if self.sigma is None else (self.sigma,)
        return strongest([Candidate({"sigma": sigma}, partial(self.smoothed, victim, sigma))
                          for sigma in sigmas], knowledge)

    def smoothed(self, victim: Counter, sigma: float) -> Counter:
        """A copy of the victim that counts through noise."""
        return Smoothed(victim.copy(), self.copies, sigma)


class Smoothed(Preprocessed):
    """A counter that counts, of noisy copies of an image, the one with the median count.

    copies: number of copies.
    sigma: of the noise. It is stored with the weights, because it may have been chosen.
    """

    def __init__(self, counter: Counter, copies: int, sigma: float):
        super().__init__(counter, self.median_copies)
        self.copies = copies
        self.register_buffer("sigma", torch.tensor(sigma))

    def _changed(self, images: Tensor) -> Tensor:
        return self.change(images)  # which counts in the precision of the run

    def counts(self, images: Tensor) -> Tensor:
        """The counts of all copies of images [B, 3, H, W], float32 [copies, B]."""
        seeds = _seeds(images)
        return torch.stack([self.counter.count(self._noisy(images, [seed + copy for seed in seeds]))
                            for copy in range(self.copies)])

    def median_copies(self, images: Tensor) -> Tensor:
        """The copy of each image with the median count, [B, 3, H, W]."""
        medians = self.counts(images).argsort(dim=0, stable=True)[self.copies // 2].tolist()
        return self._noisy(images, [seed + copy for seed, copy in zip(_seeds(images), medians)])

    def _noisy(self, images: Tensor, seeds: Sequence[int]) -> Tensor:
        """Images [B, 3, H, W] with noise from a seed for each.

        The noise is the same on all devices. As in the public code, the sum is not clamped.
        """
        noise = [torch.randn(images.shape[1:], generator=torch.Generator().manual_seed(seed))
                 for seed in seeds]
        return images + self.sigma * torch.stack(noise).to(images.device)


def _seeds(images: Tensor) -> list[int]:
    """The seed of the first copy of each image, from its pixels."""
    return [zlib.crc32(pixels.contiguous().numpy().tobytes()) for pixels in as_bytes(images)]


def certificate(counts: Tensor, sigma: float, epsilon: float,
                confidence: float = 0.95) -> tuple[Tensor, Tensor]:
    """Bounds of the median count of an image that is changed by at most epsilon.

    A bound is an order statistic of the counts that lies beyond the quantile with at least this
    confidence, and infinite where there are too few copies for it. The bounds are those of the
    median of all noise, which the median of a number of copies estimates.

    counts: of the copies of the unchanged image, [copies, ...], for instance `Smoothed.counts`.
    sigma: that of the copies. epsilon: Euclidean norm of the change, for images in 0..1.
    confidence: of each of the two bounds.
    Returns the lower and the upper bound, [...] each.
    """
    from scipy.stats import binom, norm  # takes a second to import

    number = len(counts)
    rank = int(binom.ppf(confidence, number, norm.cdf(epsilon / sigma))) + 1
    ends = torch.full_like(counts[:1], torch.inf)
    ordered = torch.cat([-ends, counts.sort(dim=0).values, ends])  # by rank, from 1 to the number
    return ordered[number + 1 - rank], ordered[rank]
