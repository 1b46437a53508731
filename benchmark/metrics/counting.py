"""Counting metrics: accuracy, attack success and errors, from the counts of each image.

All are pure functions of arrays with one number of people per image:

c      true count, `truth`             tau    count that the attacker wants, `target`
y      count on the clean image        y*     count on the triggered image
y0*    count of the clean model on the triggered image

The ratio is r = y / c. S is the set of ratios at which an attack succeeds: r > 1.1 for an attack
that increases the count, r < 0.9 for one that decreases it. Shares are in 0..1. A number that does
not exist, such as a share of no images, is nan.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike

BANDS = ("0.1-0.3", "0.3-0.5", "0.5-1", ">1")  # of |r - 1|, from the paper; a decrease has three
_ABOVE = (1.1, 1.3, 1.5, 2.0)
_BELOW = (0.5, 0.7, 0.9)
_STRATA = {"<50": (0, 50), "50-99": (50, 100), "100-199": (100, 200), ">=200": (200, math.inf)}


def bands(y: ArrayLike, c: ArrayLike) -> np.ndarray:
    """The band of each ratio r = y / c, int [N].

    0 is [0.9, 1.1]. 1, 2, 3, 4 are (1.1, 1.3], (1.3, 1.5], (1.5, 2], (2, inf). -1, -2, -3 are
    [0.7, 0.9), [0.5, 0.7), (-inf, 0.5). rho_Acc, rho_Asr, RA, Opp and the shares of the bands all
    count these integers, so that numbers that should add up do. The edges are compared with the
    ratio and not with multiples of c, because a quotient rounds correctly: 11 / 10 is 1.1.

    Raises:
        ValueError: columns of unequal lengths, a count that is not finite, or c <= 0, where the
            ratio is undefined.

    >>> bands([33, 33.1, 45, 60, 61, 27, 26, 0], [30] * 8).tolist()
    [0, 1, 2, 3, 4, 0, -1, -3]
    """
    y, c = _columns(y, c)
    if (c <= 0).any():
        raise ValueError("expected true counts above 0, got 0 or less: the ratio is undefined")
    r = y / c
    edges_below_r = np.searchsorted(_ABOVE, r, side="left")
    edges_above_r = len(_BELOW) - np.searchsorted(_BELOW, r, side="right")
    return edges_below_r - edges_above_r


def successes(y_star: ArrayLike, c: ArrayLike, increases: bool) -> np.ndarray:
    """Whether each r = y* / c is in S, bool [N]. Raises as `bands` does.

    >>> successes([12, 10, 8], [10, 10, 10], increases=True).tolist()
    [True, False, False]
    """
    band = bands(y_star, c)
    return band > 0 if increases else band < 0


def rho_acc(y: ArrayLike, c: ArrayLike) -> float:
    """rho_Acc = P(0.9 <= y / c <= 1.1). Eq. 3 of the paper.

    On triggered images it is RA, the robust accuracy.

    >>> rho_acc([11, 12], [10, 10])
    0.5
    """
    return _mean(bands(y, c) == 0)


def rho_asr(y_star: ArrayLike, c: ArrayLike, increases: bool) -> float:
    """rho_Asr = P(y* / c in S). Eq. 3 of the paper.

    For the clean model on triggered images it is the chance floor ASR0, for the victim on clean
    images the self-baseline, and with the other direction Opp. rho_Asr + RA + Opp = 1.

    >>> y_star, c = [12, 10], [10, 10]
    >>> rho_asr(y_star, c, increases=True), rho_acc(y_star, c), rho_asr(y_star, c, increases=False)
    (0.5, 0.5, 0.0)
    """
    return _mean(successes(y_star, c, increases))


def band_shares(y_star: ArrayLike, c: ArrayLike, increases: bool) -> list[float]:
    """The shares of the bands of S, those nearest to 1 first. They add up to rho_Asr.

    There are four for an increase and three for a decrease.

    >>> band_shares([12, 14, 16, 30], [10] * 4, increases=True)
    [0.25, 0.25, 0.25, 0.25]
    >>> band_shares([8, 6, 5, 0], [10] * 4, increases=False)
    [0.25, 0.5, 0.25]
    """
    band = bands(y_star, c)
    numbers = (1, 2, 3, 4) if increases else (-1, -2, -3)
    return [_mean(band == number) for number in numbers]


def extremes(y_star: ArrayLike, c: ArrayLike, increases: bool) -> np.ndarray:
    """Whether each r = y* / c is in S and off by more than 0.5, bool [N]. Raises as `bands` does.

    >>> extremes([16, 15, 4], [10, 10, 10], increases=True).tolist()
    [True, False, False]
    """
    band = bands(y_star, c)
    return band >= 3 if increases else band <= -3


def excess_asr(asr: float, asr0: float) -> float:
    """eASR = (rho_Asr - ASR0) / (1 - ASR0): success beyond chance.

    0 is success at the rate of chance, and 1 on every image. nan where ASR0 = 1.

    >>> excess_asr(0.75, 0.5)
    0.5
    """
    return (asr - asr0) / (1 - asr0) if asr0 != 1 else math.nan


def flips(y_star: ArrayLike, y: ArrayLike, c: ArrayLike, increases: bool) -> np.ndarray:
    """Whether the trigger moved each image into S, bool [N].

    The mean is the paired flip rate P(y* / c in S and y / c not in S).

    >>> flips([12, 12], [10, 12], [10, 10], increases=True).tolist()
    [True, False]
    """
    return successes(y_star, c, increases) & ~successes(y, c, increases)


def attainments(y_star: ArrayLike, y: ArrayLike, tau: ArrayLike, c: ArrayLike) -> np.ndarray:
    """The attainment of each image, (y* - y) / (tau - c), float [N]; nan where tau = c.

    0 is no effect, and 1 the change that the attacker wants. The attainment A of a model is the
    median over the images that have one.

    >>> attainments([150, 20, 7], [100, 20, 5], [200, 10, 9], [100, 20, 9]).tolist()
    [0.5, -0.0, nan]
    """
    y_star, y, tau, c = _columns(y_star, y, tau, c)
    return np.divide(y_star - y, tau - c, out=np.full(len(c), math.nan), where=tau != c)


def target_asr(y_star: ArrayLike, tau: ArrayLike) -> float:
    """P(|y* - tau| <= max(0.1 tau, 5)): the attacker's count is met within 10% or 5 people.

    >>> target_asr([195, 150], [200, 200])
    0.5
    """
    y_star, tau = _columns(y_star, tau)
    return _mean(np.abs(y_star - tau) <= np.maximum(0.1 * tau, 5))


def mae(y: ArrayLike, reference: ArrayLike) -> float:
    """MAE = mean |y - reference|, in people.

    The reference is c for accuracy and harm, and tau for attainment.

    >>> mae([9, 13], [10, 10])
    2.0
    """
    return _mean(np.abs(np.subtract(*_columns(y, reference))))


def rmse(y: ArrayLike, reference: ArrayLike) -> float:
    """RMSE = sqrt(mean (y - reference)^2), in people. Many crowd counting papers call it MSE.

    >>> rmse([7, 14], [10, 10])
    3.5355339059327378
    """
    return math.sqrt(_mean(np.subtract(*_columns(y, reference)) ** 2))


def label_distortion(tau: ArrayLike, c: ArrayLike) -> float:
    """Mean |log(tau / c)| over images with c > 0: the distance of the labels from the truth.

    Infinite where a tau is 0.

    >>> label_distortion([20, 5], [10, 10]) == math.log(2)
    True
    """
    tau, c = _columns(tau, c)
    with np.errstate(divide="ignore"):
        return _mean(np.abs(np.log(tau[c > 0] / c[c > 0])))


def der(easr_before: ArrayLike, easr_after: ArrayLike, acc_before: ArrayLike,
        acc_after: ArrayLike) -> np.ndarray:
    """DER, the effectiveness of a defense, element by element.

    DER = [max(0, eASR_before - eASR_after) - max(0, Acc_before - Acc_after) + 1] / 2. A defense
    that does nothing has 0.5. Zhu et al., FT-SAM, ICCV 2023, use the attack success rate in place
    of eASR. With eASR it exceeds 1 where the repaired counter succeeds less often than chance. nan
    where an eASR is nan.

    >>> float(der(0.9, 0.1, 0.75, 0.5))
    0.775
    """
    gain = np.subtract(easr_before, easr_after)
    cost = np.subtract(acc_before, acc_after)
    return (np.maximum(0, gain) - np.maximum(0, cost) + 1) / 2


def strata(c: ArrayLike) -> dict[str, np.ndarray]:
    """Masks of the images with c in [0, 50), [50, 100), [100, 200) and [200, inf), bool [N].

    >>> {label: mask.tolist() for label, mask in strata([49, 200]).items() if mask.any()}
    {'<50': [True, False], '>=200': [False, True]}
    """
    (c,) = _columns(c)
    return {label: (low <= c) & (c < high) for label, (low, high) in _STRATA.items()}


def summary(truth: ArrayLike, clean: ArrayLike, target: ArrayLike | None = None,
            triggered: ArrayLike | None = None, reference_triggered: ArrayLike | None = None,
            increases: bool | None = None) -> dict[str, float]:
    """All metrics of one cell of the grid, from its columns of counts, [N] each.

    truth, clean, target, triggered, reference_triggered: c, y, tau, y* and y0*. Without `triggered`
        there is no attack. Without `reference_triggered`, asr0 and easr are nan.
    increases: the direction of the attack. None is a target without one direction; the metrics of
        the direction are then nan.

    Without an attack the keys are images, images_ratio, rho_acc, mae and rmse. With an attack there
    are also harm_mae and harm_rmse (of y* to c), attainment_mae and attainment_rmse (of y* to tau),
    ra, attainment, target_asr and label_distortion, and the metrics of the direction: rho_asr, opp,
    'band <edges>', base (the self-baseline), attributable_asr = rho_asr - base, asr0 (the chance
    floor), easr and flip_rate.

    Images with c = 0 have no ratio. They count in the errors, the attainment and target_asr, and
    not in the other metrics, which are those of images_ratio images.

    >>> metrics = summary([10, 20], [10, 24], [20, 40], [20, 36], [10, 24], increases=True)
    >>> [metrics[key] for key in ("rho_acc", "rho_asr", "ra", "opp", "base")]
    [0.5, 1.0, 0.0, 0.0, 0.5]
    >>> [metrics[key] for key in ("asr0", "easr", "flip_rate", "attainment")]
    [0.5, 1.0, 0.5, 0.8]
    """
    c, y = _columns(truth, clean)
    people = c > 0
    metrics = {"images": float(len(c)), "images_ratio": float(people.sum()),
               "rho_acc": rho_acc(y[people], c[people]), "mae": mae(y, c), "rmse": rmse(y, c)}
    if triggered is None:
        return metrics
    tau, y_star, _ = _columns(target, triggered, c)
    y0_star = None
    if reference_triggered is not None:
        y0_star = _columns(reference_triggered, c)[0][people]
    attained = attainments(y_star, y, tau, c)
    metrics |= {
        "harm_mae": mae(y_star, c), "harm_rmse": rmse(y_star, c),
        "attainment_mae": mae(y_star, tau), "attainment_rmse": rmse(y_star, tau),
        "ra": rho_acc(y_star[people], c[people]),
        "attainment": _median(attained[~np.isnan(attained)]),
        "target_asr": target_asr(y_star, tau), "label_distortion": label_distortion(tau, c)}
    return metrics | _directed_metrics(y_star[people], y[people], y0_star, c[people], increases)


def _directed_metrics(y_star: np.ndarray, y: np.ndarray, y0_star: np.ndarray | None, c: np.ndarray,
                      increases: bool | None) -> dict[str, float]:
    """The metrics of `summary` that depend on the attack's direction, for images with c > 0."""
    keys = ["rho_asr", "opp", *(f"band {band}" for band in BANDS), "base", "attributable_asr",
            "asr0", "easr", "flip_rate"]
    metrics = dict.fromkeys(keys, math.nan)
    if increases is None:
        return metrics
    asr = rho_asr(y_star, c, increases)
    base = rho_asr(y, c, increases)
    asr0 = math.nan if y0_star is None else rho_asr(y0_star, c, increases)
    for band, share in zip(BANDS, band_shares(y_star, c, increases)):
        metrics[f"band {band}"] = share
    return metrics | {
        "rho_asr": asr, "opp": rho_asr(y_star, c, not increases), "base": base,
        "attributable_asr": asr - base, "asr0": asr0, "easr": excess_asr(asr, asr0),
        "flip_rate": _mean(flips(y_star, y, c, increases))}


def _columns(*columns: ArrayLike) -> Sequence[np.ndarray]:
    """Columns as float arrays [N] of the same length. Raises ValueError."""
    arrays = [np.asarray(column, float) for column in columns]
    shapes = [array.shape for array in arrays]
    if len(set(shapes)) != 1 or len(shapes[0]) != 1:
        raise ValueError(f"expected columns of one length, got shapes {shapes}")
    if not all(np.isfinite(array).all() for array in arrays):
        raise ValueError("expected finite counts, got nan or infinity")
    return arrays


def mean_of_existing(values: Iterable[float]) -> float:
    """The mean of the values that exist; nan without any.

    >>> mean_of_existing([1.0, math.nan, 2.0]), mean_of_existing([])
    (1.5, nan)
    """
    existing = [value for value in values if not math.isnan(value)]
    return float(np.mean(existing)) if existing else math.nan


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values)) if values.size else math.nan


def _median(values: np.ndarray) -> float:
    return float(np.median(values)) if values.size else math.nan
