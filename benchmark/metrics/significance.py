"""How sure a number is: bootstrap intervals, McNemar's test of two models, Holm's correction over many tests."""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

REPLICATES = 2000
Statistic = Callable[[np.ndarray, np.ndarray], np.ndarray]  # see `mean`


def mean(values: np.ndarray, times: np.ndarray) -> np.ndarray:
    """The mean in each replicate. Values that are nan do not exist, and are left out; nan where none is left.

    values: float [N], of N images, or [N, K]. times: how often each image was drawn, [R, N]. Returns [R] or [R, K].

    >>> mean(np.array([1.0, 2.0, np.nan]), np.array([[1, 1, 1], [3, 0, 0], [0, 0, 3]])).tolist()
    [1.5, 1.0, nan]
    """
    there = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return (times @ np.where(there, values, 0)) / (times @ there)


def median(values: np.ndarray, times: np.ndarray) -> np.ndarray:
    """The median in each replicate; see `mean`, of which it takes and gives the same, for values [N].

    >>> median(np.array([3.0, 1.0, 2.0, np.nan]), np.array([[1, 1, 1, 1], [1, 0, 1, 2], [0, 0, 0, 4]])).tolist()
    [2.0, 2.5, nan]
    """
    order = np.argsort(values)[: np.count_nonzero(~np.isnan(values))]  # nan is last
    if not len(order):
        return np.full(len(times), math.nan)
    upto = np.cumsum(times[:, order], axis=1)  # how many are no larger
    number = upto[:, -1:]
    below, above = (values[order[(upto > middle).argmax(axis=1)]] for middle in ((number - 1) // 2, number // 2))
    return np.where(number[:, 0] > 0, (below + above) / 2, math.nan)


def replicated(seeds: Sequence[ArrayLike], statistic: Statistic = mean, replicates: int = REPLICATES,
               rng: int = 0) -> np.ndarray:
    """A statistic over images, averaged over seeds, in bootstrap replicates: [replicates], or [replicates, K].

    seeds: per seed the values [N] of the same N images in the same order; or [N, K], K values that belong together.
    rng: seed of the resampling. With the same one, all statistics of as many images and seeds see the same draws, so
    that their replicates can be subtracted.

    A replicate draws S of the S seeds and N of the N images, with replacement. All its seeds share the images drawn:
    they are the same images, and to draw them anew for each seed would narrow the interval as if there were S times
    as many (Owen, The pigeonhole bootstrap, Annals of Applied Statistics 2007). One seed gives an interval for that
    one model; few seeds say little of the spread between models.

    Raises:
        ValueError: no values, or seeds with different numbers of images.
    """
    if len(seeds) == 0 or len({np.shape(values) for values in seeds}) != 1 or not np.shape(seeds[0])[0]:
        raise ValueError("expected values for the same images, at least one, under every seed")
    times, drawn = _draws(np.shape(seeds[0])[0], len(seeds), replicates, rng)
    of_seeds = np.stack([statistic(np.asarray(values, float), times) for values in seeds])
    return np.mean([of_seeds[seed, np.arange(replicates)] for seed in drawn], axis=0)


@lru_cache(maxsize=8)
def _draws(images: int, seeds: int, replicates: int, rng: int) -> tuple[np.ndarray, np.ndarray]:
    """How often each image is drawn, [replicates, images], and which seeds are, [seeds, replicates]."""
    generator = np.random.default_rng(rng)
    chosen = generator.integers(images, size=(replicates, images))
    drawn = generator.integers(seeds, size=(seeds, replicates))
    places = chosen + images * np.arange(replicates)[:, None]
    times = np.bincount(places.ravel(), minlength=replicates * images).reshape(replicates, images).astype(float)
    return times, drawn


def interval(replicates: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """The percentile interval of replicates [R]; nan where some have no value.

    >>> interval(np.arange(5.0), level=0.5)
    (1.0, 3.0)
    """
    low, high = np.quantile(replicates, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bootstrap(seeds: Sequence[ArrayLike], statistic: Statistic = mean, replicates: int = REPLICATES,
              rng: int = 0) -> tuple[float, float]:
    """The 95% interval of a statistic over images, averaged over seeds: `interval` of what `replicated` gives.

    >>> bootstrap([[0, 1, 1, 1] * 25])
    (0.66, 0.83)
    """
    return interval(replicated(seeds, statistic, replicates, rng))


def mcnemar(first: ArrayLike, second: ArrayLike) -> float:
    """Exact two-sided McNemar test: do two models succeed equally often on the same images? Returns p.

    first, second: bool [N], one entry per image, or [S, N] for S seeds; or whole numbers, such as the successes of a
    model less those of its control. With d_i how many more of the seeds succeed on image i under the first than under
    the second, p = P(|sum of +-d_i| >= |sum d_i|), each sign a fair coin. With one seed that is McNemar's
    min(1, 2 P(X <= min(b, c))), X ~ Binomial(b + c, 1/2), b and c the images on which only one succeeds. An image has
    one sign for all seeds: they are no new images. It tells of these models, not of others trained alike. McNemar,
    Psychometrika 1947; sign flips: Fisher, The Design of Experiments, 1935, section 21.

    Raises:
        ValueError: different numbers of images or seeds.

    >>> mcnemar([True] * 6 + [False] * 4, [False] * 10)
    0.03125
    """
    first, second = np.atleast_2d(np.asarray(first, int)), np.atleast_2d(np.asarray(second, int))
    if first.shape != second.shape:
        raise ValueError(f"expected the same images, got {first.shape} and {second.shape}")
    differences = (first - second).sum(axis=0)
    chances = np.ones(1)  # of each sum of signed differences, from the lowest to the highest
    for size in range(1, int(np.abs(differences).max(initial=0)) + 1):
        number = int((np.abs(differences) == size).sum())
        steps = np.zeros(2 * size * number + 1)
        steps[:: 2 * size] = [math.comb(number, heads) / 2**number for heads in range(number + 1)]
        chances = np.convolve(chances, steps)
    sums = np.arange(len(chances)) - len(chances) // 2
    return min(1.0, float(chances[np.abs(sums) >= abs(differences.sum())].sum()))


def holm(p: ArrayLike) -> np.ndarray:
    """p values adjusted for the number of tests m, float [m], in the order given. Holm, Scand. J. Statistics 1979.

    Of the sorted p, the i-th becomes max over j <= i of min(1, (m - j + 1) p_j). Rejecting those below a level keeps
    the chance of any false rejection below that level.

    >>> holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p, float)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(np.minimum(1, p[order] * np.arange(len(p), 0, -1)))
    return adjusted
