"""What filters of the poisoned set share: scores of its images, the share that is left out, bins by annotated count.

Originals of classification score within a class. A regression has none: images whose annotated counts are alike stand
in for one.
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike
from pydantic import Field, PositiveInt
from scipy.stats import rankdata
from torch import Tensor

from benchmark.data.batches import Batch
from benchmark.data.scene import Scene
from defenses.base import Defense, Knowledge
from models.base import Counter

BINS = 5
FEWEST = 10  # images that a bin should have


class Filter(Defense):
    """Leaves the most suspicious images out and trains a new counter on the others.

    drop: the share of the poisoned set that is left out. epochs: of a training; None is what the victim was trained
    with.
    """

    drop: float = Field(0.15, ge=0, lt=1)
    epochs: PositiveInt | None = None

    @abstractmethod
    def scores(self, victim: Counter | None, knowledge: Knowledge) -> np.ndarray:
        """How suspicious each image of `knowledge.poisoned` is, [N]; higher is more."""

    def apply(self, victim: Counter | None, knowledge: Knowledge) -> Counter:
        scores, trained = self.scores(victim, knowledge), knowledge.trainer.fresh()
        knowledge.report_scores(scores.tolist())
        knowledge.trainer.fit(trained, kept(knowledge.poisoned, scores, self.drop), epochs=self.epochs)
        return trained


def kept(scenes: list[Scene], scores: ArrayLike, drop: float) -> list[Scene]:
    """The scenes without the share that scores highest, in their order; never none of them.

    >>> kept(["a", "b", "c", "d"], [0, 3, 1, 2], drop=0.5)
    ['a', 'c']
    """
    number = max(len(scenes) - round(drop * len(scenes)), 1)
    return [scenes[i] for i in sorted(np.argsort(scores, kind="stable")[:number])]


def count_bins(counts: Sequence[int]) -> np.ndarray:
    """The quantile bin of each count, int [N]: five, or as many as leave ten images to each. Equal counts share one.

    >>> count_bins(range(20)).tolist() == [0] * 10 + [1] * 10, count_bins([7, 7, 3]).tolist()
    (True, [0, 0, 0])
    """
    bins = min(BINS, max(len(counts) // FEWEST, 1))
    return np.searchsorted(np.sort(counts), counts) * bins // len(counts)


def in_bins(scenes: list[Scene], values: Tensor, score: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """What `score` says of the values of each count bin, [n, ...] -> [n], in the order of the scenes: [N]."""
    bins, values = count_bins([scene.count for scene in scenes]), values.double().numpy()
    scores = np.empty(len(scenes))
    for number in np.unique(bins):
        scores[bins == number] = score(values[bins == number])
    return scores


def percentiles(values: ArrayLike) -> np.ndarray:
    """The percentile rank of each value among them, in 0..1; equal values share theirs.

    >>> percentiles([5, 9, 1, 5]).tolist()
    [0.5, 0.875, 0.125, 0.5]
    """
    return (rankdata(values) - 0.5) / len(values)


def pooled(counter: Counter, scenes: list[Scene], knowledge: Knowledge) -> Tensor:
    """The features that the last convolution sees, averaged over each image: [N, C]."""
    return knowledge.trainer.per_image(counter, scenes, lambda batch: counter.features(batch.images).float().mean((2, 3)))


def people(batch: Batch) -> Tensor:
    """Annotated count of each image, [B]."""
    return torch.tensor([float(len(points)) for points in batch.points], device=batch.images.device)


def normalised_losses(counter: Counter, scenes: list[Scene], knowledge: Knowledge) -> Tensor:
    """The counter's loss of each scene over its annotated count + 1, [N]: a crowd loses more than a few people do."""
    return knowledge.trainer.per_image(counter, scenes, lambda batch: counter.loss(batch) / (people(batch) + 1))
