"""How sure a number is: bootstrap intervals, McNemar's test of two models, Holm's correction over many tests."""

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike

Statistic = Callable[..., np.ndarray]


def bootstrap(seeds: Sequence[ArrayLike], statistic: Statistic = np.mean, level: float = 0.95,
              replicates: int = 2000, rng: int = 0) -> tuple[float, float]:
    """Percentile interval of a statistic that is computed over images and averaged over seeds.

    seeds: per seed the values [N] of the same N images in the same order; or [N, K], K values that belong together.
    statistic: a reduction with numpy's `axis`, such as np.median; it gets values [replicates, N(, K)] and axis=1.
    level: coverage. rng: seed of the resampling; the same arguments give the same interval.

    A replicate draws S of the S seeds and N of the N images, with replacement. All its seeds share the images drawn:
    they are the same images, and to draw them anew for each seed would narrow the interval as if there were S times
    as many (Owen, The pigeonhole bootstrap, Annals of Applied Statistics 2007). One seed gives an interval for that
    one model; few seeds say little of the spread between models.

    Raises:
        ValueError: no values, or seeds with different numbers of images.

    >>> bootstrap([[0, 1, 1, 1] * 25])
    (0.66, 0.83)
    """
    if len(seeds) == 0 or len({np.shape(values) for values in seeds}) != 1 or not np.shape(seeds[0])[0]:
        raise ValueError("expected values for the same images, at least one, under every seed")
    values = np.asarray(seeds, float)
    generator = np.random.default_rng(rng)
    images = generator.integers(values.shape[1], size=(replicates, values.shape[1]))
    drawn = generator.integers(values.shape[0], size=(values.shape[0], replicates, 1))
    means = np.mean([statistic(values[seed, images], axis=1) for seed in drawn], axis=0)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def mcnemar(first: ArrayLike, second: ArrayLike) -> float:
    """Exact two-sided McNemar test: do two models succeed equally often on the same images? Returns p.

    first, second: bool [N], one entry per image, or [S, N] for S seeds. With d_i how many more of the seeds succeed on
    image i under the first than under the second, p = P(|sum of +-d_i| >= |sum d_i|), each sign a fair coin. With one
    seed that is McNemar's min(1, 2 P(X <= min(b, c))), X ~ Binomial(b + c, 1/2), b and c the images on which only one
    succeeds. An image has one sign for all seeds: they are no new images. It tells of these models, not of others
    trained alike. McNemar, Psychometrika 1947; sign flips: Fisher, The Design of Experiments, 1935, section 21.

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
    for size in range(1, len(first) + 1):
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
