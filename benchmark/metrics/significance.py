"""Significance: tests over images and over seeds, and Holm's correction.

`sign_flip_test` is about the counters at hand, `over_seeds` about others that are trained in the
same way. `benchmark.metrics.paired` puts the two beside each other. Intervals over images are in
`benchmark.metrics.bootstrap`.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

LEVEL = 0.05  # significance level of every test: a smaller p shows a difference
ENOUGH_SEEDS = 5  # fewer say too little about the spread between counters for any claim about them


def sign_flip_test(first: ArrayLike, second: ArrayLike) -> float:
    """The p value of an exact two-sided sign-flip test over images.

    The null hypothesis is that two models succeed equally often on the same images. d_i is the
    number of seeds that succeed on image i under the first model minus that under the second. Then
    p = P(|sum of +-d_i| >= |sum of d_i|), where each sign is a fair coin. With one seed this is
    McNemar's exact test, min(1, 2 P(X <= min(b, c))), X ~ Binomial(b + c, 1/2), where b and c are
    the numbers of images on which only one of the models succeeds. An image has one sign for all
    seeds, because more seeds are not more images. The test is about these models, not about others
    trained in the same way. Fisher, The Design of Experiments, 1935, section 21; McNemar,
    Psychometrika 1947.

    first, second: bool [N], one value per image, or [S, N] for S seeds. They may be whole numbers,
        such as the successes of a model minus those of its control.

    Raises:
        ValueError: the numbers of images or seeds differ.

    >>> sign_flip_test([True] * 6 + [False] * 4, [False] * 10)
    0.03125
    """
    first, second = np.atleast_2d(np.asarray(first, int)), np.atleast_2d(np.asarray(second, int))
    if first.shape != second.shape:
        raise ValueError(f"expected the same images, got {first.shape} and {second.shape}")
    differences = (first - second).sum(axis=0)
    largest = int(np.abs(differences).max(initial=0))
    probabilities = np.ones(1)  # of each sum of signed differences, from the lowest to the highest
    for size in range(1, largest + 1):
        number = int((np.abs(differences) == size).sum())
        steps = np.zeros(2 * size * number + 1)
        steps[:: 2 * size] = [math.comb(number, heads) / 2**number for heads in range(number + 1)]
        probabilities = np.convolve(probabilities, steps)
    sums = np.arange(len(probabilities)) - len(probabilities) // 2
    as_extreme = np.abs(sums) >= abs(differences.sum())
    return min(1.0, float(probabilities[as_extreme].sum()))


@dataclass(frozen=True)
class SeedInference:
    """The mean of a difference over seeds, the ends of its 95% interval, and a p value.

    Where all differences are equal, low and high are nan and p is 1; with one seed p is nan, too.
    """

    mean: float
    low: float
    high: float
    p: float


def over_seeds(differences: ArrayLike) -> SeedInference:
    """A t interval and the two-sided t test of differences of mean 0, over seeds.

    differences: float [S], for each seed the number of one method minus that of the other.

    The interval is mean +- t s / sqrt(S), with s the standard deviation of the differences and t
    the quantile of Student's distribution with S - 1 degrees of freedom. It is about all counters
    that may be trained in the same way, of which the seeds are a sample; it takes the differences
    to be normally distributed. A share is a multiple of 1 / N, so a few seeds may well have equal
    differences by chance. They say nothing about the spread, and so they show nothing: there is no
    interval, and p is 1. Student, Biometrika 1908.

    Raises:
        ValueError: there is no seed.

    >>> inference = over_seeds([-0.310, -0.032, -0.066])
    >>> [round(value, 3) for value in (inference.mean, inference.low, inference.high, inference.p)]
    [-0.136, -0.513, 0.241, 0.261]
    """
    from scipy.special import stdtr, stdtrit  # imported here because few commands need scipy

    differences = np.asarray(differences, float)
    number = len(differences)
    if not number:
        raise ValueError("expected the difference of at least one seed")
    center = float(differences.mean())
    if not _spread(differences):
        return SeedInference(center, math.nan, math.nan, math.nan if number == 1 else 1.0)
    error = float(differences.std(ddof=1)) / math.sqrt(number)
    margin = float(stdtrit(number - 1, 0.975)) * error
    p = 2 * float(stdtr(number - 1, -abs(center) / error))
    return SeedInference(center, center - margin, center + margin, p)


def one_against_others(value: float, others: ArrayLike) -> float:
    """The two-sided p of one value against those of others, for instance of other counters.

    The null hypothesis is that the value is one more of the same normal distribution. Then
    (value - mean) / (s sqrt(1 + 1 / n)), with the mean and the standard deviation s of the n
    others, has Student's distribution with n - 1 degrees of freedom. A single other, and others
    that are all equal, show no spread: nan. Crawford and Howell, The Clinical Neuropsychologist
    1998.

    >>> [round(one_against_others(value, [0.95, 0.96, 0.97]), 3) for value in (0.96, 0.94, 1.15)]
    [1.0, 0.225, 0.004]
    """
    from scipy.special import stdtr  # imported here because few commands need scipy

    others = np.asarray(others, float)
    number = len(others)
    if not _spread(others):
        return math.nan
    error = float(others.std(ddof=1)) * math.sqrt(1 + 1 / number)
    return 2 * float(stdtr(number - 1, -abs(value - float(others.mean())) / error))


def _spread(values: np.ndarray) -> bool:
    """Whether values [N] differ by more than the rounding of floats."""
    return len(values) > 1 and not np.allclose(values, values[0], rtol=0, atol=1e-9)


def holm(p: ArrayLike) -> np.ndarray:
    """p values adjusted for the number of tests m, float [m], in the same order.

    A p that does not exist (nan) is no test and stays nan.

    Of the sorted p values, the i-th becomes the maximum over j <= i of min(1, (m - j + 1) p_j). If
    the tests whose adjusted p is below a level are rejected, the chance of any false rejection is
    below that level. Holm, Scandinavian Journal of Statistics 1979.

    >>> holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p, float)
    order = np.argsort(p, kind="stable")[: np.count_nonzero(~np.isnan(p))]  # nan is last
    multiplied = np.minimum(1, p[order] * np.arange(len(order), 0, -1))
    adjusted = np.full_like(p, math.nan)
    adjusted[order] = np.maximum.accumulate(multiplied)
    return adjusted
