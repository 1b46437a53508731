"""Detection metrics: AUROC, AUPRC, and the true positive rate at a fixed false positive rate.

Scores are arrays of negatives [N] and positives [M]; a higher score is more suspicious. A metric is
nan where one of them is empty.
"""

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.special import ndtri
from scipy.stats import mannwhitneyu
from sklearn.metrics import average_precision_score, roc_curve


def auroc(negatives: ArrayLike, positives: ArrayLike) -> float:
    """AUROC, the area under the ROC curve.

    It is the chance that a positive scores higher than a negative, where ties count half. Mann and
    Whitney, Annals of Mathematical Statistics 1947.

    >>> auroc([1, 2, 3], [3, 4])
    0.9166666666666666
    """
    if not len(negatives) or not len(positives):
        return math.nan
    pairs = len(positives) * len(negatives)
    test = mannwhitneyu(positives, negatives, method="asymptotic")
    return float(test.statistic) / pairs


def auroc_interval(negatives: ArrayLike, positives: ArrayLike) -> tuple[float, float]:
    """The 95% score interval of AUROC, of independent scores.

    It holds each t with (AUROC - t)^2 <= z^2 V(t), where z is the normal quantile,

        V(t) = t (1 - t) (1 + K ((1 - t) / (2 - t) + t / (1 + t))) / (N M),

    and K = (N + M) / 2 - 1. Unlike an interval of estimated variance it is not empty where AUROC is
    0 or 1, and few scores give a wide one. Newcombe, Statistics in Medicine 2006, part 2, method 5.

    >>> [round(end, 3) for end in auroc_interval([0], [1, 2, 3, 4])]
    [0.345, 1.0]
    """
    area = auroc(negatives, positives)
    if math.isnan(area):
        return math.nan, math.nan
    sizes = len(negatives), len(positives)
    return _lower_end(area, *sizes), 1 - _lower_end(1 - area, *sizes)


def _lower_end(area: float, number: int, other_number: int) -> float:
    """The lower end of `auroc_interval`; V(t) = V(1 - t), so the upper end is one of these too."""
    if area == 0:
        return 0.0
    weight = (number + other_number) / 2 - 1

    def excess(t: float) -> float:
        spread = 1 + weight * ((1 - t) / (2 - t) + t / (1 + t))
        return (area - t) ** 2 - ndtri(0.975) ** 2 * t * (1 - t) * spread / (number * other_number)

    return float(brentq(excess, 0, area * (1 - 1e-9)))  # at 1 there is another root


def auprc(negatives: ArrayLike, positives: ArrayLike) -> float:
    """AUPRC, the area under the precision-recall curve, as average precision.

    A detector that guesses has M / (N + M). Davis and Goadrich, ICML 2006.

    >>> auprc([1, 2, 3], [4, 2.5])
    0.8333333333333333
    """
    if not len(negatives) or not len(positives):
        return math.nan
    return float(average_precision_score(*_labelled(negatives, positives)))


def tpr_at_fpr(negatives: ArrayLike, positives: ArrayLike, fpr: float) -> float:
    """The true positive rate at the lowest threshold whose false positive rate is at most `fpr`.

    nan where there are fewer than 1 / fpr negatives: a single one of them is more than the rate.

    >>> tpr_at_fpr(range(100), [98, 98.5, 99.5, 200], fpr=0.01)
    0.75
    """
    if len(negatives) * fpr < 1 or not len(positives):
        return math.nan
    false_rates, true_rates, _ = roc_curve(*_labelled(negatives, positives),
                                           drop_intermediate=False)
    return float(true_rates[false_rates <= fpr].max())


def _labelled(negatives: ArrayLike, positives: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """The labels, 0 for negatives and 1 for positives, and the scores, [N + M] each."""
    labels = np.repeat([0, 1], [len(negatives), len(positives)])
    return labels, np.concatenate([negatives, positives])
