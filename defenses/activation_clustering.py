"""Activation clustering: cut the features of each kind of image in two; the smaller cluster is suspicious.

Chen et al., SafeAI workshop at AAAI 2019, algorithms 1 and 2. The victim's features of a class are reduced to 10
components and clustered by 2-means. With a the mean distance of an image to its own cluster and b to the other, its
silhouette is s = (b - a) / max(a, b), in -1..1:

    score(x) = s(x) in the smaller cluster,  -s(x) in the larger one

Classes become count bins, as for `spectral`. The original discards whole clusters that are small or well separated, any
share of the data; here the share is fixed and the silhouette ranks: the cores of small clusters that stand far apart
go first, of whichever bin. The components are principal ones, as BackdoorBench runs it, not independent ones as in the
paper: these are whitened principal components, rotated. 2-means sees distances only, so that the rotation is nothing to
it, and whitening makes noise as large as what separates the clusters.
"""

import numpy as np
from pydantic import PositiveInt
from sklearn.cluster import KMeans
from sklearn.metrics import silhouette_samples

from benchmark.registry import register
from defenses.base import Knowledge, Knows
from defenses.parts.filtering import Filter, in_bins, pooled
from models.base import Counter


@register
class ActivationClustering(Filter):
    """dims: components of the features. drop, epochs: see Filter."""

    knows = Knows(poisoned=True)
    dims: PositiveInt = 10

    def scores(self, victim: Counter, knowledge: Knowledge) -> np.ndarray:
        scenes = knowledge.poisoned
        return in_bins(scenes, pooled(victim, scenes, knowledge), lambda rows: signed_silhouettes(rows, self.dims))


def components(features: np.ndarray, dims: int) -> np.ndarray:
    """The first principal components of features [n, C], as many as there are up to dims."""
    left, values, _ = np.linalg.svd(features - features.mean(axis=0), full_matrices=False)
    return left[:, :dims] * values[:dims]


def signed_silhouettes(features: np.ndarray, dims: int) -> np.ndarray:
    """Silhouette of each row after 2-means, [n], negative in the larger cluster; 0 of two rows, or of equal ones."""
    if len(features) < 3 or (features == features[0]).all():
        return np.zeros(len(features))
    points = components(features, dims)
    clusters = KMeans(2, n_init=10, random_state=0).fit_predict(points)
    smaller = np.bincount(clusters).argmin()
    return np.where(clusters == smaller, 1, -1) * silhouette_samples(points, clusters)
