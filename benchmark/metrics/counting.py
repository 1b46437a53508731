"""Counts per image -> numbers. Pure functions on arrays with one entry per image, in people:

c      true count, `truth`             tau    count the attacker wants, `target`
y      counted on the clean image      y*     counted on the triggered image
y0*    counted by the clean model on the triggered image

The ratio is r = y / c. An attack succeeds, r in S, at r > 1.1 where it increases the count and at r < 0.9 where it
decreases it. Shares are in 0..1. A number that does not exist, such as a share of no images, is nan.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

BANDS = ("0.1-0.3", "0.3-0.5", "0.5-1", ">1")  # the paper's, by |r - 1|; a decrease has the first three
_ABOVE = (1.1, 1.3, 1.5, 2.0)
_BELOW = (0.5, 0.7, 0.9)
_STRATA = {"<50": (0, 50), "50-99": (50, 100), "100-199": (100, 200), ">=200": (200, math.inf)}


def bands(y: ArrayLike, c: ArrayLike) -> np.ndarray:
    """The band that each r = y / c falls in, int [N].

    0 is [0.9, 1.1]. 1, 2, 3, 4 are (1.1, 1.3], (1.3, 1.5], (1.5, 2], (2, inf). -1, -2, -3 are [0.7, 0.9), [0.5, 0.7),
    (-inf, 0.5). rho_Acc, rho_Asr, RA, Opp and the bands' shares all count these integers, so that what should add up
    does. The ratio is compared, not y with 1.1 c: a quotient rounds correctly, so that 11 / 10 is the float 1.1.

    Raises:
        ValueError: unequal lengths, a count that is not finite, or c <= 0, where r is undefined.

    >>> bands([33, 33.1, 45, 60, 61, 27, 26, 0], [30] * 8).tolist()
    [0, 1, 2, 3, 4, 0, -1, -3]
    """
    y, c = _columns(y, c)
    if (c <= 0).any():
        raise ValueError("a ratio to a true count of 0 is undefined: leave such images out")
    r = y / c
    return np.searchsorted(_ABOVE, r, side="left") - (len(_BELOW) - np.searchsorted(_BELOW, r, side="right"))


def successes(y_star: ArrayLike, c: ArrayLike, increases: bool) -> np.ndarray:
    """Whether each r = y* / c is in S, bool [N]. Raises as `bands` does.

    >>> successes([12, 10, 8], [10, 10, 10], increases=True).tolist()
    [True, False, False]
    """
    band = bands(y_star, c)
    return band > 0 if increases else band < 0


def rho_acc(y: ArrayLike, c: ArrayLike) -> float:
    """rho_Acc = P(0.9 <= y / c <= 1.1). The paper, eq. 3; on triggered images it is RA, the robust accuracy.

    >>> rho_acc([11, 12], [10, 10])
    0.5
    """
    return _mean(bands(y, c) == 0)


def rho_asr(y_star: ArrayLike, c: ArrayLike, increases: bool) -> float:
    """rho_Asr = P(y* / c in S). The paper, eq. 3.

    The same of the clean model on triggered images is the chance floor ASR0; of the victim on clean images, the
    self-baseline; with the other direction, Opp. rho_Asr + RA + Opp = 1.

    >>> rho_asr([12, 10], [10, 10], increases=True), rho_acc([12, 10], [10, 10]), rho_asr([12, 10], [10, 10], False)
    (0.5, 0.5, 0.0)
    """
    return _mean(successes(y_star, c, increases))


def band_shares(y_star: ArrayLike, c: ArrayLike, increases: bool) -> list[float]:
    """Shares of the bands of S, nearest to 1 first: four for an increase, three for a decrease. They add up to rho_Asr.

    >>> band_shares([12, 14, 16, 30], [10] * 4, increases=True)
    [0.25, 0.25, 0.25, 0.25]
    >>> band_shares([8, 6, 5, 0], [10] * 4, increases=False)
    [0.25, 0.5, 0.25]
    """
    band = bands(y_star, c)
    return [_mean(band == (k if increases else -k)) for k in range(1, 5 if increases else 4)]


def excess_asr(asr: float, asr0: float) -> float:
    """eASR = (rho_Asr - ASR0) / (1 - ASR0): 0 is chance, 1 is always. nan at ASR0 = 1, which leaves nothing to win.

    >>> excess_asr(0.75, 0.5)
    0.5
    """
    return (asr - asr0) / (1 - asr0) if asr0 != 1 else math.nan


def flips(y_star: ArrayLike, y: ArrayLike, c: ArrayLike, increases: bool) -> np.ndarray:
    """Whether the trigger moved each image into S, bool [N]. The mean is the paired flip rate P(r* in S, r not in S).

    >>> flips([12, 12], [10, 12], [10, 10], increases=True).tolist()
    [True, False]
    """
    return successes(y_star, c, increases) & ~successes(y, c, increases)


def attainments(y_star: ArrayLike, y: ArrayLike, tau: ArrayLike, c: ArrayLike) -> np.ndarray:
    """How much of the wanted change each image shows, (y* - y) / (tau - c), float [N]; nan where tau = c.

    0 is no effect, 1 is what the attacker wants. The attainment A of a model is the median of those that exist.

    >>> attainments([150, 20, 7], [100, 20, 5], [200, 10, 9], [100, 20, 9]).tolist()
    [0.5, -0.0, nan]
    """
    y_star, y, tau, c = _columns(y_star, y, tau, c)
    return np.divide(y_star - y, tau - c, out=np.full(len(c), math.nan), where=tau != c)


def target_asr(y_star: ArrayLike, tau: ArrayLike) -> float:
    """P(|y* - tau| <= max(0.1 tau, 5)): the count that the attacker wants, within 10% or 5 people.

    >>> target_asr([195, 150], [200, 200])
    0.5
    """
    y_star, tau = _columns(y_star, tau)
    return _mean(np.abs(y_star - tau) <= np.maximum(0.1 * tau, 5))


def mae(y: ArrayLike, reference: ArrayLike) -> float:
    """MAE = mean |y - reference|, in people. The reference is c (accuracy, harm) or tau (attainment).

    >>> mae([9, 13], [10, 10])
    2.0
    """
    return _mean(np.abs(np.subtract(*_columns(y, reference))))


def rmse(y: ArrayLike, reference: ArrayLike) -> float:
    """RMSE = sqrt(mean (y - reference)^2), in people; the MSE of many crowd counting papers.

    >>> rmse([7, 14], [10, 10])
    3.5355339059327378
    """
    return math.sqrt(_mean(np.subtract(*_columns(y, reference)) ** 2))


def label_distortion(tau: ArrayLike, c: ArrayLike) -> float:
    """Mean |log(tau / c)|, over images with c > 0: how far from the truth the labels lie. Infinite where a tau is 0.

    >>> label_distortion([20, 5], [10, 10]) == math.log(2)
    True
    """
    tau, c = _columns(tau, c)
    with np.errstate(divide="ignore"):
        return _mean(np.abs(np.log(tau[c > 0] / c[c > 0])))


def der(easr_before: ArrayLike, easr_after: ArrayLike, acc_before: ArrayLike, acc_after: ArrayLike) -> np.ndarray:
    """Defense effectiveness: [max(0, eASR_before - eASR_after) - max(0, Acc_before - Acc_after) + 1] / 2.

    0.5 is a defense that does nothing. Zhu et al., FT-SAM, ICCV 2023, here on eASR: above 1 where the repaired counter
    errs less than chance would have it. nan where an eASR is. Of arrays, element by element.

    >>> float(der(0.9, 0.1, 0.75, 0.5))
    0.775
    """
    gain, cost = np.subtract(easr_before, easr_after), np.subtract(acc_before, acc_after)
    return (np.maximum(0, gain) - np.maximum(0, cost) + 1) / 2


def strata(c: ArrayLike) -> dict[str, np.ndarray]:
    """Masks, bool [N], of the images with c in [0, 50), [50, 100), [100, 200) and [200, inf).

    >>> {label: mask.tolist() for label, mask in strata([49, 50, 200]).items() if mask.any()}
    {'<50': [True, False, False], '50-99': [False, True, False], '>=200': [False, False, True]}
    """
    (c,) = _columns(c)
    return {label: (low <= c) & (c < high) for label, (low, high) in _STRATA.items()}


def dot_map(points: ArrayLike, shape: tuple[int, int], stride: int = 1) -> np.ndarray:
    """Points [N, 2] as (x, y) in pixels -> people per block of `stride` pixels, float [H, W] with (H, W) = `shape`.

    Points outside count in the nearest block, so that the sum is N.

    >>> dot_map([[0, 0], [15.9, 7], [16, 7]], shape=(1, 2), stride=8).tolist()
    [[1.0, 2.0]]
    """
    x, y = (np.reshape(points, (-1, 2)) // stride).astype(int).T
    flat = y.clip(0, shape[0] - 1) * shape[1] + x.clip(0, shape[1] - 1)
    return np.bincount(flat, minlength=shape[0] * shape[1]).reshape(shape).astype(float)


def game(density: np.ndarray, truth: np.ndarray, level: int) -> float:
    """GAME(L) of one image, in people: |sum of density - truth| per cell, added up over 2^L x 2^L cells.

    Both are maps [H, W] in people per pixel or block (points: see `dot_map`). GAME(0) is the absolute error; GAME
    sees people moved where the count is unchanged. Guerrero-Gomez-Olmedo et al., IbPRIA 2015.

    Raises:
        ValueError: maps of different shapes, or with fewer rows or columns than cells.

    >>> game(np.array([[5.0, 0.0]] * 2), np.array([[0.0, 5.0]] * 2), level=1)
    20.0
    """
    cells = 2**level
    if np.shape(density) != np.shape(truth) or min(np.shape(density)) < cells:
        raise ValueError(f"expected two maps of one shape, at least {cells} x {cells}, "
                         f"got {np.shape(density)} and {np.shape(truth)}")
    error = np.subtract(density, truth, dtype=float)
    for axis, length in enumerate(error.shape):
        error = np.add.reduceat(error, np.arange(cells) * length // cells, axis=axis)
    return float(np.abs(error).sum())


def summary(truth: ArrayLike, clean: ArrayLike, target: ArrayLike | None = None, triggered: ArrayLike | None = None,
            reference_triggered: ArrayLike | None = None, increases: bool | None = None) -> dict[str, float]:
    """Every number of one cell from its columns, [N] each. Without a clean model's counts, asr0 and easr are nan.

    Without an attack (no `target`, `triggered`): images, images_ratio, rho_acc, mae, rmse.
    With one, also: harm_mae and harm_rmse (y* and c), attainment_mae and attainment_rmse (y* and tau), ra, attainment,
    target_asr, label_distortion, and of the direction: rho_asr, opp, 'band <edges>', base (self-baseline),
    attributable_asr = rho_asr - base, asr0 (chance floor), easr, flip_rate.

    Images with c = 0 have no ratio and are left out of all but the errors, the attainment and target_asr;
    images_ratio of the images remain. increases: the attack's direction; where it is None, the target has
    no one direction and the numbers of the direction are nan.

    >>> numbers = summary([10, 20], [10, 24], [20, 40], [20, 36], [10, 24], increases=True)
    >>> [numbers[key] for key in ("rho_acc", "rho_asr", "ra", "opp", "base", "asr0", "easr", "flip_rate", "attainment")]
    [0.5, 1.0, 0.0, 0.0, 0.5, 0.5, 1.0, 0.5, 0.8]
    """
    c, y = _columns(truth, clean)
    people = c > 0
    numbers = {"images": float(len(c)), "images_ratio": float(people.sum()),
               "rho_acc": rho_acc(y[people], c[people]), "mae": mae(y, c), "rmse": rmse(y, c)}
    if triggered is None:
        return numbers
    tau, y_star, _ = _columns(target, triggered, c)
    y0_star = None if reference_triggered is None else _columns(reference_triggered, c)[0][people]
    attained = attainments(y_star, y, tau, c)
    return numbers | {
        "harm_mae": mae(y_star, c), "harm_rmse": rmse(y_star, c),
        "attainment_mae": mae(y_star, tau), "attainment_rmse": rmse(y_star, tau),
        "ra": rho_acc(y_star[people], c[people]),
        "attainment": _median(attained[~np.isnan(attained)]),
        "target_asr": target_asr(y_star, tau), "label_distortion": label_distortion(tau, c),
    } | _directed(y_star[people], y[people], y0_star, c[people], increases)


def _directed(y_star: np.ndarray, y: np.ndarray, y0_star: np.ndarray | None, c: np.ndarray,
              increases: bool | None) -> dict[str, float]:
    numbers = dict.fromkeys(["rho_asr", "opp", *(f"band {band}" for band in BANDS), "base", "attributable_asr", "asr0",
                             "easr", "flip_rate"], math.nan)
    if increases is None:
        return numbers
    asr, base = rho_asr(y_star, c, increases), rho_asr(y, c, increases)
    asr0 = math.nan if y0_star is None else rho_asr(y0_star, c, increases)
    shares = zip(BANDS, band_shares(y_star, c, increases))
    return numbers | {f"band {band}": share for band, share in shares} | {
        "rho_asr": asr, "opp": rho_asr(y_star, c, not increases), "base": base, "attributable_asr": asr - base,
        "asr0": asr0, "easr": excess_asr(asr, asr0), "flip_rate": _mean(flips(y_star, y, c, increases))}


def _columns(*columns: ArrayLike) -> Sequence[np.ndarray]:
    arrays = [np.asarray(column, float) for column in columns]
    if len({array.shape for array in arrays}) != 1 or arrays[0].ndim != 1:
        raise ValueError(f"expected columns of one length, got shapes {[array.shape for array in arrays]}")
    if not all(np.isfinite(array).all() for array in arrays):
        raise ValueError("a count is not finite")
    return arrays


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values)) if values.size else math.nan


def _median(values: np.ndarray) -> float:
    return float(np.median(values)) if values.size else math.nan
