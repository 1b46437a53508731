"""Beatrix: suspect images whose feature channels are correlated in an unusual way. Ma et al., 2023.

Ma, Wang, Sun, Xue, Wen, Xiang, "The 'Beatrix' resurrections: robust backdoor detection via Gram
matrices", NDSS 2023, arXiv 2209.11715. With the features F of an image, one row of places for each
channel, and the order p, the Gram matrix is

    G_p = (F^p (F^p)^T)^(1/p), element by element

For each element of its upper triangle, clean images give the median and the median absolute
deviation MAD. The score is the sum, over all elements and orders, of the relative distance to the
interval of median +- 10 MAD, 0 inside it. As in the public code (wanlunsec/Beatrix), it is divided
by half the number of elements of a whole matrix and by the number of orders.

The paper makes such statistics for each class; the images of a counter are one class. The products
are averaged over the places and not summed, so that images of all sizes are alike. The number of
people also changes the matrices, so the clean images must cover it.
"""

from dataclasses import dataclass
from typing import Self

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor

from benchmark.registry import register
from defenses.base import Detector, Knowledge, Knows, Scorer
from models.base import Counter

EPSILON = 1e-6  # keeps a relative distance finite where the bound is 0; that of the public code


@register
class Beatrix(Detector):
    """images: number of clean images; the public code takes 30 of each class.
    orders: the powers are 1, 2, ... up to this one.
    width: half the width of the usual interval, in median absolute deviations.
    """

    images: int = Field(40, ge=2)
    orders: PositiveInt = 8
    width: PositiveFloat = 10.0

    @property
    def knows(self) -> Knows:
        return Knows(clean=self.images)

    def scorer(self, victim: Counter, knowledge: Knowledge) -> Scorer:
        orders = range(1, self.orders + 1)
        # One order at a time: with 2048 channels, the matrices of all orders would take gigabytes.
        intervals = [Interval.of(knowledge.trainer.per_image(
            victim, knowledge.clean, lambda batch: gram(_features(victim, batch.images), order)),
            self.width) for order in orders]

        def score(images: Tensor) -> Tensor:
            found = _features(victim, images)
            sums = [interval.distances(gram(found, order)).sum(dim=1)
                    for order, interval in zip(orders, intervals)]
            return torch.stack(sums).mean(dim=0) / (found.shape[1] ** 2 / 2)

        return score


@dataclass(frozen=True)
class Interval:
    """The usual values of the elements of a Gram matrix: lowest and highest, [elements] each."""

    low: Tensor
    high: Tensor

    @classmethod
    def of(cls, elements: Tensor, width: float) -> Self:
        """The interval of clean images: the median and `width` times the MAD on both sides.

        elements: those of the clean images, [N, elements].
        """
        middle = elements.median(dim=0).values
        deviation = (elements - middle).abs().median(dim=0).values
        return cls(middle - width * deviation, middle + width * deviation)

    def distances(self, elements: Tensor) -> Tensor:
        """The distances to the interval, relative to its nearer end, [B, elements]."""
        low, high = self.low.to(elements.device), self.high.to(elements.device)
        below = (low - elements).relu() / (low + EPSILON).abs()
        above = (elements - high).relu() / (high + EPSILON).abs()
        return below + above


def gram(features: Tensor, order: int) -> Tensor:
    """The upper triangle of the Gram matrix of an order, [B, C (C + 1) / 2].

    features: [B, C, places]. They are divided by their largest magnitude before the power and
        multiplied back behind it, so that no power leaves the range of float32.
    """
    largest = features.abs().amax(dim=(1, 2), keepdim=True).clamp(min=EPSILON)
    with torch.autocast(features.device.type, enabled=False):
        powers = (features / largest) ** order
        products = powers @ powers.transpose(1, 2) / features.shape[2]
    row, column = torch.triu_indices(*products.shape[1:], device=features.device)
    elements = products[:, row, column]
    return largest[:, 0].square() * elements.sign() * elements.abs() ** (1 / order)


def _features(victim: Counter, images: Tensor) -> Tensor:
    """The input of the last convolution, float32 [B, C, places]."""
    return victim.features(images).float().flatten(2)
