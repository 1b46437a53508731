"""Filters of the poisoned set: suspicion scores, the share that is left out, and bins of the count.

The methods that they adapt score an image within its class. Counting has no classes, so bins of
images with similar annotated counts take their place.
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike
from pydantic import Field, PositiveInt
from torch import Tensor

from benchmark.data.batches import Batch
from benchmark.data.scene import Scene
from defenses.base import Defense, Knowledge
from models.base import Counter

MAX_BINS = 5
IMAGES_PER_BIN = 10  # the least that a bin should have on average


class Filter(Defense):
    """A defense that leaves the most suspicious images out and trains a new counter on the others.

    drop: the share of the poisoned set that is left out.
    epochs: the number of epochs of a training; None takes the victim's.
    """

    drop: float = Field(0.15, ge=0, lt=1)
    epochs: PositiveInt | None = None

    @abstractmethod
    def scores(self, victim: Counter | None, knowledge: Knowledge) -> np.ndarray:
        """The suspicion of each image of `knowledge.poisoned`, [N]. Higher is more suspicious."""

    def apply(self, victim: Counter | None, knowledge: Knowledge) -> Counter:
        scores = self.scores(victim, knowledge)
        counter = knowledge.trainer.fresh()
        knowledge.report_scores(scores.tolist())
        scenes = least_suspicious(knowledge.poisoned, scores, self.drop)
        knowledge.trainer.fit(counter, scenes, epochs=self.epochs)
        return counter


def least_suspicious(scenes: list[Scene], scores: ArrayLike, drop: float) -> list[Scene]:
    """The scenes without the share that scores highest, in their order; at least one scene.

    >>> least_suspicious(["a", "b", "c", "d"], [0, 3, 1, 2], drop=0.5)
    ['a', 'c']
    """
    number = max(len(scenes) - round(drop * len(scenes)), 1)
    lowest = np.argsort(scores, kind="stable")[:number]
    return [scenes[index] for index in sorted(lowest)]


def count_bins(counts: Sequence[int]) -> np.ndarray:
    """The number of the quantile bin of each count, int [N]. Equal counts share a bin.

    There are `MAX_BINS` bins, or as many as leave `IMAGES_PER_BIN` images to each, at least one.

    >>> count_bins(range(20)).tolist() == [0] * 10 + [1] * 10, count_bins([7, 7, 3]).tolist()
    (True, [0, 0, 0])
    """
    bins = min(MAX_BINS, max(len(counts) // IMAGES_PER_BIN, 1))
    return np.searchsorted(np.sort(counts), counts) * bins // len(counts)


def score_in_bins(scenes: list[Scene], values: Tensor,
                  score: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """The score of each scene within its count bin, [N], in the order of the scenes.

    values: what the scores are computed from, for each scene, [N, ...].
    score: a function from the values of one bin to their scores, [n, ...] -> [n].
    """
    bins = count_bins([scene.count for scene in scenes])
    rows = values.double().numpy()
    scores = np.empty(len(scenes))
    for number in np.unique(bins):
        scores[bins == number] = score(rows[bins == number])
    return scores


def percentile_ranks(values: ArrayLike) -> np.ndarray:
    """The percentile rank of each value among all of them, in 0..1. Equal values share a rank.

    >>> percentile_ranks([5, 9, 1, 5]).tolist()
    [0.5, 0.875, 0.125, 0.5]
    """
    from scipy.stats import rankdata  # takes a quarter of a second to import

    return (rankdata(values) - 0.5) / len(values)


def pooled_features(counter: Counter, scenes: list[Scene], knowledge: Knowledge) -> Tensor:
    """The input of the last convolution, averaged over each image: [N, C]."""
    return knowledge.trainer.per_image(
        counter, scenes, lambda batch: counter.features(batch.images).float().mean(dim=(2, 3)))


def components(features: np.ndarray, dims: int) -> np.ndarray:
    """The first principal components of features [n, C], [n, dims] or fewer if there are fewer."""
    left, values, _ = np.linalg.svd(features - features.mean(axis=0), full_matrices=False)
    return left[:, :dims] * values[:dims]


def annotated_counts(batch: Batch) -> Tensor:
    """The annotated count of each image of a batch, float32 [B]."""
    counts = [float(len(points)) for points in batch.points]
    return torch.tensor(counts, device=batch.images.device)


def normalised_losses(counter: Counter, scenes: list[Scene], knowledge: Knowledge) -> Tensor:
    """The counter's loss of each scene divided by its annotated count + 1, [N].

    Without the division, crowded scenes would have the highest losses.
    """
    return knowledge.trainer.per_image(
        counter, scenes, lambda batch: counter.loss(batch) / (annotated_counts(batch) + 1))
