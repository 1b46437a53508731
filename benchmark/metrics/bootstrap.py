"""Bootstrap: intervals over images and seeds, for any statistic of values per image."""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

REPLICATES = 2000
Statistic = Callable[[np.ndarray, np.ndarray], np.ndarray]  # see `mean`


def mean(values: np.ndarray, times: np.ndarray) -> np.ndarray:
    """The mean in each bootstrap replicate, [R] or [R, K].

    Values that are nan are left out; the mean is nan where none is left.

    values: float [N], of N images, or [N, K].
    times: how often each image was drawn in each replicate, [R, N].

    >>> mean(np.array([1.0, 2.0, np.nan]), np.array([[1, 1, 1], [3, 0, 0], [0, 0, 3]])).tolist()
    [1.5, 1.0, nan]
    """
    exists = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return (times @ np.where(exists, values, 0)) / (times @ exists)


def median(values: np.ndarray, times: np.ndarray) -> np.ndarray:
    """The median in each bootstrap replicate, [R]. See `mean`; values are [N].

    >>> times = np.array([[1, 1, 1, 1], [1, 0, 1, 2], [0, 0, 0, 4]])
    >>> median(np.array([3.0, 1.0, 2.0, np.nan]), times).tolist()
    [2.0, 2.5, nan]
    """
    order = np.argsort(values)[: np.count_nonzero(~np.isnan(values))]  # nan is last
    if not len(order):
        return np.full(len(times), math.nan)
    ranks = np.cumsum(times[:, order], axis=1)  # how many drawn values are at most this one
    number = ranks[:, -1:]
    lower = values[order[(ranks > (number - 1) // 2).argmax(axis=1)]]
    upper = values[order[(ranks > number // 2).argmax(axis=1)]]
    return np.where(number[:, 0] > 0, (lower + upper) / 2, math.nan)


def replicated(values_by_seed: Sequence[ArrayLike], statistic: Statistic = mean,
               replicates: int = REPLICATES, draw_seed: int = 0) -> np.ndarray:
    """Bootstrap replicates of a statistic over images, averaged over seeds: [R] or [R, K].

    values_by_seed: for each seed the values [N] of the same N images in the same order, or [N, K]
        for K values of each image that are resampled together.
    replicates: R.
    draw_seed: seed of the resampling. Statistics of equally many images and seeds see the same
        draws under the same seed, so that their replicates can be subtracted.

    A replicate draws S of the S seeds and N of the N images, with replacement. All its seeds share
    the drawn images, because they are the same images: drawing them anew for each seed would narrow
    the interval as if there were S times as many (Owen, The pigeonhole bootstrap, Annals of Applied
    Statistics 2007). With one seed the interval is that of this one model. A few seeds say little
    about the spread between models.

    Raises:
        ValueError: there are no values, or seeds with different numbers of images.
    """
    shapes = {np.shape(values) for values in values_by_seed}
    if len(shapes) != 1 or not np.shape(values_by_seed[0])[0]:
        raise ValueError("expected values for the same images, at least one, under every seed")
    images = np.shape(values_by_seed[0])[0]
    times, drawn_seeds = _draws(images, len(values_by_seed), replicates, draw_seed)
    per_seed = np.stack([statistic(np.asarray(values, float), times) for values in values_by_seed])
    return np.mean([per_seed[seed, np.arange(replicates)] for seed in drawn_seeds], axis=0)


@lru_cache(maxsize=8)
def _draws(images: int, seeds: int, replicates: int,
           draw_seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The number of times each image is drawn, [replicates, images], and the seeds that are drawn.

    images, seeds: how many there are. The drawn seeds are indices, [seeds, replicates].
    """
    rng = np.random.default_rng(draw_seed)
    drawn_images = rng.integers(images, size=(replicates, images))
    drawn_seeds = rng.integers(seeds, size=(seeds, replicates))
    flat = drawn_images + images * np.arange(replicates)[:, None]
    times = np.bincount(flat.ravel(), minlength=replicates * images)
    return times.reshape(replicates, images).astype(float), drawn_seeds


def interval(replicates: np.ndarray, confidence: float = 0.95) -> tuple[float, float]:
    """The percentile interval of replicates [R]; nan where one of them is nan.

    >>> interval(np.arange(5.0), confidence=0.5)
    (1.0, 3.0)
    """
    low, high = np.quantile(replicates, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def bootstrap(values_by_seed: Sequence[ArrayLike], statistic: Statistic = mean,
              replicates: int = REPLICATES, draw_seed: int = 0) -> tuple[float, float]:
    """The 95% interval of a statistic over images, averaged over seeds. See `replicated`.

    >>> bootstrap([[0, 1, 1, 1] * 25])
    (0.66, 0.83)
    """
    return interval(replicated(values_by_seed, statistic, replicates, draw_seed))
