"""Detection metrics: AUROC, AUPRC, TPR at a fixed FPR."""

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import mannwhitneyu
from sklearn.metrics import average_precision_score, roc_curve


def auroc(negatives: ArrayLike, positives: ArrayLike) -> float:
    """Area under the ROC curve: the chance that a positive scores higher than a negative, ties counting half.

    negatives [N] and positives [M] are scores, higher is more suspicious. nan where one of them is empty.
    Mann and Whitney, Annals of Mathematical Statistics 1947.

    >>> auroc([1, 2, 3], [3, 4])
    0.9166666666666666
    """
    if not len(negatives) or not len(positives):
        return math.nan
    pairs = len(positives) * len(negatives)
    return float(mannwhitneyu(positives, negatives, method="asymptotic").statistic) / pairs


def auprc(negatives: ArrayLike, positives: ArrayLike) -> float:
    """Area under the precision-recall curve, as average precision; a detector that guesses has M / (N + M).

    nan where one of them is empty. Davis and Goadrich, ICML 2006.

    >>> auprc([1, 2, 3], [4, 2.5])
    0.8333333333333333
    """
    if not len(negatives) or not len(positives):
        return math.nan
    return float(average_precision_score(*_labelled(negatives, positives)))


def tpr_at_fpr(negatives: ArrayLike, positives: ArrayLike, fpr: float) -> float:
    """The share of positives found by the lowest threshold that raises at most a share `fpr` of false alarms.

    nan where one of them is empty.

    >>> tpr_at_fpr(range(100), [98, 98.5, 99.5, 200], fpr=0.01)
    0.75
    """
    if not len(negatives) or not len(positives):
        return math.nan
    false, true, _ = roc_curve(*_labelled(negatives, positives), drop_intermediate=False)
    return float(true[false <= fpr].max())


def _labelled(negatives: ArrayLike, positives: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Labels and scores."""
    return np.repeat([0, 1], [len(negatives), len(positives)]), np.concatenate([negatives, positives])
