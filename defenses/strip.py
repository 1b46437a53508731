"""STRIP: is a count too steady, or too unsteady, when clean images are mixed in?  Gao et al., ACSAC 2019.

    s(x) = sd over k of log((c((x + x_k) / 2) + 1) / (c(x_k) + 1)),    score = |log s(x) - m| / sd of log s

x_k: clean images. m and sd: of log s over other clean images. The class of a triggered image outlives the mixing, so
its entropy is low, and the paper looks at that side only. A triggered count has no fixed value, and its ratio may vary
less or more; so both sides are suspicious. A blend halves a blended trigger, which the method cannot help. The paper
mixes 100 images and TrojanZoo 64; here they are 16, as a counter's forward pass is dear and 16 values tell a sd to 18%.
"""

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from benchmark.data.batches import Batch
from benchmark.registry import register
from defenses.base import Detector, Knowledge, Knows, Scorer
from defenses.parts.ratios import log_ratio
from models.base import Counter

TINY = 1e-6  # a log-ratio that is no change at all


@register
class Strip(Detector):
    """blends: clean images that are mixed in; no more than half of all. images: clean ones, the others are compared."""

    blends: int = Field(16, ge=2)
    images: int = Field(40, ge=4)

    @property
    def knows(self) -> Knows:
        return Knows(clean=self.images)

    def scorer(self, victim: Counter, knowledge: Knowledge) -> Scorer:
        scenes, trainer = knowledge.clean, knowledge.trainer
        number = min(self.blends, len(scenes) // 2)
        partners = [Batch.of([scene], trainer.device).images for scene in scenes[:number]]
        alone = trainer.per_image(victim, scenes[:number], lambda batch: victim.count(batch.images)).to(trainer.device)

        def log_spread(images: Tensor) -> Tensor:
            mixed = [victim.count((images + fitted(partner, images)) / 2) for partner in partners]
            return (log_ratio(torch.stack(mixed), alone[:, None]).std(dim=0) + TINY).log()

        usual = trainer.per_image(victim, scenes[number:], lambda batch: log_spread(batch.images))
        mean, sd = float(usual.mean()), float(usual.std()) + TINY
        return lambda images: (log_spread(images) - mean).abs() / sd


def fitted(partner: Tensor, images: Tensor) -> Tensor:
    """A clean image in the size of others."""
    if partner.shape[-2:] == images.shape[-2:]:
        return partner
    return F.interpolate(partner, images.shape[-2:], mode="bilinear", antialias=True)
