"""Activation clustering: split the features of similar images in two and distrust the smaller part.

Chen et al., SafeAI workshop at AAAI 2019, algorithms 1 and 2. The victim's features of the images
of a class are reduced to 10 components and divided into two clusters by 2-means. Let a be the mean
distance of an image to the others of its own cluster and b that to the other cluster. The
silhouette of the image is s = (b - a) / max(a, b), in -1..1, and

    score(x) = s(x) in the smaller cluster,  -s(x) in the larger one

Changes for counting: bins of the annotated count take the place of classes, as in `spectral`.
The paper discards whole clusters that are small or well separated, whatever share of the images
they hold. Here the share is fixed and images are ranked by the silhouette: the cores of small
clusters that lie far apart from the others are left out first, in whichever bin they are.

The components are principal ones, as BackdoorBench intends; the condition for them in its code
never holds, and it clusters the first 10 activations. Those of the paper are independent ones,
which are whitened and rotated principal components. 2-means depends on distances only, so a
rotation does not affect it, and whitening would make noise as large as what separates the clusters.
"""

import numpy as np
from pydantic import PositiveInt

from benchmark.registry import register
from defenses.base import Knowledge, Knows
from defenses.parts.filtering import Filter, components, pooled_features, score_in_bins
from models.base import Counter


@register
class ActivationClustering(Filter):
    """dims: number of components that the features are reduced to. drop, epochs: see `Filter`."""

    knows = Knows(poisoned=True)
    dims: PositiveInt = 10

    def scores(self, victim: Counter, knowledge: Knowledge) -> np.ndarray:
        scenes = knowledge.poisoned
        features = pooled_features(victim, scenes, knowledge)
        return score_in_bins(scenes, features, lambda rows: signed_silhouettes(rows, self.dims))


def signed_silhouettes(features: np.ndarray, dims: int) -> np.ndarray:
    """The silhouette of each row after 2-means, negative in the larger cluster: [n, C] -> [n].

    All are 0 where there are fewer than three rows or where all rows are equal.
    """
    if len(features) < 3 or (features == features[0]).all():
        return np.zeros(len(features))
    points = components(features, dims)
    from sklearn.cluster import KMeans  # takes half a second to import
    from sklearn.metrics import silhouette_samples

    clusters = KMeans(2, n_init=10, random_state=0).fit_predict(points)
    smaller = np.bincount(clusters).argmin()
    signs = np.where(clusters == smaller, 1, -1)
    return signs * silhouette_samples(points, clusters)
