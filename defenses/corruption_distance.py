"""Corruption distance: suspect images whose count changes unusually under corruptions.

    v(x) = [log((c(A(x)) + 1) / (c(x) + 1)) for six corruptions A]
    score(x) = sqrt((v(x) - m)' C^-1 (v(x) - m))

m and C are the mean and the covariance of v over clean images. C is shrunk (Ledoit and Wolf, J.
Multivariate Analysis 2004), because 40 images say little about its 21 numbers. It is from no paper.
The idea that a triggered image answers to corruptions in its own way is that of TeCo (Liu et al.,
CVPR 2023; see teco.py), which needs an answer that flips, and no clean images. Here each corruption
has one severity, the change of the count is taken, and what is usual is learned from clean images.

The six corruptions are JPEG at quality 75 and 50, Gaussian blur and noise at severity 1 of
ImageNet-C (standard deviations of 1 pixel and of 0.08; Hendrycks and Dietterich, ICLR 2019),
horizontal flip, and gamma 1.5. The noise is the same pattern for all images of a size, so that
scores can be repeated.
"""

import torch
from pydantic import Field
from torch import Tensor

from benchmark.registry import register
from defenses.base import Detector, Knowledge, Knows, Scorer
from defenses.parts.corruptions import gaussian_noise
from defenses.parts.preprocessing import blurred, compressed
from defenses.parts.ratios import log_ratio
from models.base import Counter

CORRUPTIONS = [lambda images: compressed(images, 75), lambda images: compressed(images, 50),
               lambda images: blurred(images, 1.0), lambda images: images.flip(-1),
               lambda images: images**1.5, lambda images: gaussian_noise(images, 0.08)]


@register
class CorruptionDistance(Detector):
    """images: number of clean images that say which changes are usual."""

    images: int = Field(40, ge=2)

    @property
    def knows(self) -> Knows:
        return Knows(clean=self.images)

    def scorer(self, victim: Counter, knowledge: Knowledge) -> Scorer:
        trainer = knowledge.trainer
        clean_changes = trainer.per_image(victim, knowledge.clean,
                                          lambda batch: changes(victim, batch.images))
        from sklearn.covariance import LedoitWolf  # takes half a second to import

        usual = LedoitWolf().fit(clean_changes.numpy())
        mean = torch.tensor(usual.location_, dtype=torch.float32, device=trainer.device)
        precision = torch.tensor(usual.precision_, dtype=torch.float32, device=trainer.device)

        def distance(images: Tensor) -> Tensor:
            difference = changes(victim, images) - mean
            with torch.autocast(images.device.type, enabled=False):
                squares = (difference @ precision * difference).sum(dim=1)
                return squares.clamp(min=0).sqrt()

        return distance


def changes(counter: Counter, images: Tensor) -> Tensor:
    """The log-ratio of each image's count after each corruption to that before it, [B, 6]."""
    with torch.autocast(images.device.type, enabled=False):  # pixels keep their 8 bits
        corrupted = [corrupt(images) for corrupt in CORRUPTIONS]
    counts = torch.stack([counter.count(version) for version in corrupted], dim=1)
    return log_ratio(counts, counter.count(images)[:, None])
