"""Spectral signatures: leave out images that stand out along the main direction of the features of their kind.

Tran, Li, Madry, NeurIPS 2018, algorithm 1. With the victim's features h(x) of the images of a class, their mean m, and
v the top right singular vector of the matrix with rows h(x) - m:

    score(x) = ((h(x) - m) . v)^2

The original drops the 1.5 eps highest of every class, BackdoorBench those above percentile 85. Classes become count
bins, for the annotated count is what features differ in most. h is what the last convolution sees, averaged over the
image. Scores of different bins have different scales, so that an image's score is its percentile rank within its bin:
the 15% that are left out are 15% of every bin, as in the original.
"""

import numpy as np

from benchmark.registry import register
from defenses.base import Knowledge, Knows
from defenses.parts.filtering import Filter, in_bins, percentiles, pooled
from models.base import Counter


@register
class Spectral(Filter):
    """drop, epochs: see Filter."""

    knows = Knows(poisoned=True)

    def scores(self, victim: Counter, knowledge: Knowledge) -> np.ndarray:
        scenes = knowledge.poisoned
        return in_bins(scenes, pooled(victim, scenes, knowledge), lambda rows: percentiles(spectral(rows)))


def spectral(features: np.ndarray) -> np.ndarray:
    """The squared projection of centred features [n, C] on their top right singular vector, [n]."""
    centred = features - features.mean(axis=0)
    return (centred @ np.linalg.svd(centred, full_matrices=False)[2][0]) ** 2
