"""Overlay shift: faint random pictures over an image show nobody, so they should move no count.

With the count c, clean images x_i, and several random pictures o_ij for each,

    d_ij = log((c((1 - alpha) x_i + alpha o_ij) + 1) / (c(x_i) + 1))
    suspicion = |mean of d_ij|

A design of this project. A counter that was poisoned with a picture blended over whole images does
not learn that picture alone: other faint pictures move its counts in the same direction, towards
more people or towards fewer. A clean counter errs in both directions, and the mean stays small. No
trigger is searched for, so it takes one pass over the images for each picture, without gradients.
The pictures are the same for every counter, so that suspicions can be compared.

It was developed on the victims of `blended`. How much less it finds of other triggers is in
docs/detection.md.
"""

import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from benchmark.data.batches import Batch
from benchmark.registry import register
from defenses.base import Inspector, Knowledge, Knows
from defenses.parts.overlays import random_overlays
from defenses.parts.ratios import log_ratio
from models.base import Counter


@register
class OverlayShift(Inspector):
    """The counts of clean images are compared with those under faint random pictures.

    images: number of clean images.
    overlays: number of random pictures for each image.
    alpha: the share of the picture in the mix.
    """

    images: PositiveInt = 40
    overlays: PositiveInt = 10
    alpha: float = Field(0.1, gt=0, lt=1)

    @property
    def knows(self) -> Knows:
        return Knows(clean=self.images)

    def suspicion(self, victim: Counter, knowledge: Knowledge) -> float:
        generator = torch.Generator().manual_seed(0)  # the same pictures for every counter

        def shifts(batch: Batch) -> Tensor:
            """The log-ratios of each image with each of its pictures, [B, overlays]."""
            images = batch.images
            before = victim.count(images)
            after = []
            for _ in range(self.overlays):
                pictures = random_overlays(len(images), images.shape[-2:], generator)
                after.append(victim.count(images.lerp(pictures.to(images), self.alpha)))
            return torch.stack([log_ratio(counts, before) for counts in after], dim=1)

        return abs(float(knowledge.trainer.per_image(victim, knowledge.clean, shifts).mean()))
