"""Detection metrics: AUROC, AUPRC, and the true positive rate at a fixed false positive rate.

Scores are arrays of negatives [N] and positives [M]; a higher score is more suspicious. A metric is
nan where one of them is empty.
"""

import math

import numpy as np
from numpy.typing import ArrayLike
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

    >>> tpr_at_fpr(range(100), [98, 98.5, 99.5, 200], fpr=0.01)
    0.75
    """
    if not len(negatives) or not len(positives):
        return math.nan
    false_rates, true_rates, _ = roc_curve(*_labelled(negatives, positives),
                                           drop_intermediate=False)
    return float(true_rates[false_rates <= fpr].max())


def _labelled(negatives: ArrayLike, positives: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """The labels, 0 for negatives and 1 for positives, and the scores, [N + M] each."""
    labels = np.repeat([0, 1], [len(negatives), len(positives)])
    return labels, np.concatenate([negatives, positives])
