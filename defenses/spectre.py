"""SPECTRE: leave out images that stand out once their features are whitened by robust estimates.

Hayase, Kong, Somani, Oh, ICML 2021. The features of a class are reduced to their first k principal
components. A robust estimate S of their covariance, which ignores some unusual images (algorithm of
Diakonikolas et al., ICML 2017), whitens them: z = S^(-1/2) h. With C the covariance of all z,

    score(x) = z' Q z / tr Q,      Q = exp(alpha (C - I) / (|C| - 1)),

the quantum entropy score (QUE; Dong, Hopkins, Li, NeurIPS 2019): alpha = 0 is the length of z, and
a large alpha the projection on the main direction, as in `spectral`. Each k is
tried: the images with the highest scores are removed, and the others whiten all components. The k
with the largest tr(C Q) / tr Q is taken.

Changes for counting:

* Bins of the annotated count take the place of classes, as in `spectral`, whose features are used.
  The score of an image is its percentile rank within its bin, and every bin loses the same share.
  The paper finds the one class that is poisoned, while a trigger may be in any bin.
* The paper is told the number of poisoned images and removes 1.5 times as many. Here `drop` is 1.5
  times the share that is expected, as in the other filters.
* k is at most 100 in the paper, for 5000 images of a class. A bin has some tens of images, and a
  covariance of as many components as images explains every image. Here k is at most a tenth of
  the images.

The filter is that of the public code, but for its first step, which ignores images of a length that
no bin of less than some hundred images can hold: each round finds the direction in which products
of two components vary most, and ignores the images that lie furthest out in it, in all at most
twice as many as are expected to be poisoned. Like that code, it centres the features by the mean
of all images, and not by a robust one.
"""

import numpy as np
from pydantic import Field

from benchmark.registry import register
from defenses.base import Knowledge, Knows
from defenses.parts.filtering import (Filter, components, percentile_ranks, pooled_features,
                                      score_in_bins)
from models.base import Counter

COMPONENTS = 100  # at most
IMAGES_PER_COMPONENT = 10
USUAL = 3.0  # deviation from the median within which an image is never ignored
CONSTANT = 10.0  # C in the public code


@register
class Spectre(Filter):
    """alpha: how much directions with a large variance count. drop, epochs: see `Filter`."""

    knows = Knows(poisoned=True)
    alpha: float = Field(4.0, ge=0)

    def scores(self, victim: Counter, knowledge: Knowledge) -> np.ndarray:
        scenes = knowledge.poisoned
        features = pooled_features(victim, scenes, knowledge)
        return score_in_bins(scenes, features, lambda rows: percentile_ranks(
            best_scores(rows, self.drop, self.alpha)))


def best_scores(features: np.ndarray, drop: float, alpha: float) -> np.ndarray:
    """The scores of rows [n, C] at the number of components that leaves the largest excess, [n]."""
    number = len(features)
    most = min(COMPONENTS, features.shape[1], max(number // IMAGES_PER_COMPONENT, 1))
    points = components(features, most)
    best, largest = np.zeros(number), -np.inf
    for k in np.unique((np.linspace(1, most**0.5, 10) ** 2).round()).astype(int):
        usual = typical(points[:, :k], drop / 1.5)
        scores, _ = que(points[:, :k], usual, alpha)
        kept = scores.argsort(kind="stable").argsort() < max(number - round(drop * number), 1)
        _, excess = que(points, kept, alpha)
        if excess > largest:
            best, largest = scores, excess
    return best


def que(points: np.ndarray, usual: np.ndarray, alpha: float) -> tuple[np.ndarray, float]:
    """The score of each row, [n], and their excess tr(C Q) / tr Q.

    points: [n, k], centred. usual: the rows whose covariance whitens all of them, bool [n].
    """
    white = points @ inverse_root(np.cov(points[usual].T, bias=True))
    values, vectors = np.linalg.eigh(np.atleast_2d(np.cov(white.T, bias=True)))
    # Without the largest value in the exponent no weight is infinite, and Q / tr Q is the same.
    weights = np.exp(alpha * (values - values[-1]) / max(values[-1] - 1, 1e-12))
    weights /= weights.sum()
    return (white @ vectors) ** 2 @ weights, float(values @ weights)


def typical(points: np.ndarray, share: float) -> np.ndarray:
    """Which rows [n, k] the robust estimate of their covariance is made of, bool [n].

    At least half of them are.

    share: the share of rows that are expected to be poisoned.
    """
    usual = np.ones(len(points), bool)
    left = min(round(2 * share * len(points)), len(points) // 2)
    while left > 0:
        rows = points[usual]
        white = rows @ inverse_root(rows.T @ rows / len(rows))
        far, variance = deviations(white)
        log = np.log(1 / share)
        reach = far.max() - USUAL
        if reach <= 0 or variance <= 1 + CONSTANT * share * log**2:
            break
        # The tail of normal rows ends at 10 log(1 / share), beyond which no row is kept.
        beyond = far[far > USUAL + 10 * log]
        reach = beyond.min() - USUAL if len(beyond) else reach
        ignored = far.argsort(kind="stable")[::-1][: min(left, int((far > reach).sum()))]
        usual[np.flatnonzero(usual)[ignored]] = False
        left -= len(ignored)
    return usual


def deviations(white: np.ndarray) -> tuple[np.ndarray, float]:
    """Measure the distance of each row from the median along the most variable quadratic form.

    Returns |z' V z - tr V| / sqrt 2 after the median is subtracted, [n], and the variance along V,
    the matrix of length 1 for which the mean of (z' V z)^2 - (tr V)^2 is largest.
    """
    number, k = white.shape
    products = np.einsum("ni,nj->nij", white, white).reshape(number, k * k)
    identity = np.eye(k).flatten()
    # V is a combination of the products and the identity, whose span is small where k is large.
    span = np.linalg.qr(np.vstack([products, identity]).T)[0]
    inside, trace = products @ span, identity @ span
    values, vectors = np.linalg.eigh(inside.T @ inside / number - np.outer(trace, trace))
    projections = (inside @ vectors[:, -1] - trace @ vectors[:, -1]) / 2**0.5
    return np.abs(projections - np.median(projections)), float(values[-1])


def inverse_root(covariance: np.ndarray) -> np.ndarray:
    """S^(-1/2) of a covariance [k, k]; directions without variance become 0."""
    values, vectors = np.linalg.eigh(np.atleast_2d(covariance))
    held = values > 1e-10 * max(values[-1], 0)
    roots = np.zeros_like(values)
    roots[held] = values[held] ** -0.5
    return vectors * roots @ vectors.T
