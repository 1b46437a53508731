"""STRIP: suspect counts that vary too little or too much when clean images are mixed in.

Gao et al., ACSAC 2019. With clean images x_k, and the mean m and the standard deviation sd of log s
over other clean images,

    s(x) = sd over k of log((c((x + x_k) / 2) + 1) / (c(x_k) + 1)),    score = |log s(x) - m| / sd

where each x_k is resized to the size of x.

In classification the class of a triggered image survives the mixing, so the entropy of its
predictions is low, and the paper suspects only low values. A triggered count has no fixed value,
and its ratio may vary less or more than usual, so here both sides are suspicious. The blend also
halves a blended trigger, which the method cannot avoid. The paper mixes 100 images in, and
TrojanZoo 64. Here there are 16, because a counter's forward pass is expensive, and 16 values give a
standard deviation to within 18%.
"""

from functools import cache

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from benchmark.data.batches import Batch
from benchmark.registry import register
from defenses.base import Detector, Knowledge, Knows, Scorer
from defenses.parts.ratios import log_ratio
from models.base import Counter

EPSILON = 1e-6  # keeps log s and the score finite where nothing varies


@register
class Strip(Detector):
    """Some of the clean images are mixed in; the others say what is usual.

    blends: number of clean images that are mixed in, at most half of all.
    images: number of clean images.
    """

    blends: int = Field(16, ge=2)
    images: int = Field(40, ge=4)

    @property
    def knows(self) -> Knows:
        return Knows(clean=self.images)

    def scorer(self, victim: Counter, knowledge: Knowledge) -> Scorer:
        scenes = knowledge.clean
        trainer = knowledge.trainer
        number = min(self.blends, len(scenes) // 2)
        partners = [Batch.of([scene], trainer.device).images for scene in scenes[:number]]

        @cache
        def counts_at(size: torch.Size) -> Tensor:
            """The counts [number, 1] of the partners as they are mixed in, resized to (H, W)."""
            return torch.stack([victim.count(resized(partner, size)) for partner in partners])

        def log_spread(images: Tensor) -> Tensor:
            size = images.shape[-2:]
            blends = [(images + resized(partner, size)) / 2 for partner in partners]
            counts = torch.stack([victim.count(blend) for blend in blends])
            return (log_ratio(counts, counts_at(size)).std(dim=0) + EPSILON).log()

        usual = trainer.per_image(victim, scenes[number:], lambda batch: log_spread(batch.images))
        mean = float(usual.mean())
        deviation = float(usual.std()) + EPSILON
        return lambda images: (log_spread(images) - mean).abs() / deviation


def resized(partner: Tensor, size: torch.Size) -> Tensor:
    """A clean image [1, 3, h, w] resized to the size (H, W)."""
    if partner.shape[-2:] == size:
        return partner
    return F.interpolate(partner, size, mode="bilinear", antialias=True)
