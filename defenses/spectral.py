"""Spectral signatures: leave out images that stand out in the main direction of similar images.

Tran, Li, Madry, NeurIPS 2018, algorithm 1. With the victim's features h(x) of the images of a
class, their mean m, and v the top right singular vector of the matrix with rows h(x) - m,

    score(x) = ((h(x) - m) . v)^2

The authors' code and BackdoorBench project h(x) without subtracting m; here it is subtracted, as in
the paper.

The paper drops the 1.5 eps highest of every class, BackdoorBench those above percentile 85. Here
bins of the annotated count take the place of classes, because the features of images differ most in
the count. h(x) is the input of the last convolution, averaged over the image. The scores of
different bins have different scales, so the score of an image is its percentile rank within its
bin. The 15% that are left out are then 15% of every bin, as in the paper.
"""

import numpy as np

from benchmark.registry import register
from defenses.base import Knowledge, Knows
from defenses.parts.filtering import Filter, percentile_ranks, pooled_features, score_in_bins
from models.base import Counter


@register
class Spectral(Filter):
    """drop, epochs: see `Filter`."""

    knows = Knows(poisoned=True)

    def scores(self, victim: Counter, knowledge: Knowledge) -> np.ndarray:
        scenes = knowledge.poisoned
        features = pooled_features(victim, scenes, knowledge)
        return score_in_bins(scenes, features, lambda rows: percentile_ranks(spectral(rows)))


def spectral(features: np.ndarray) -> np.ndarray:
    """The squared projection of each row on the main direction: [n, C] -> [n].

    The main direction is the top right singular vector of the centred rows.
    """
    centred = features - features.mean(axis=0)
    directions = np.linalg.svd(centred, full_matrices=False)[2]
    return (centred @ directions[0]) ** 2
