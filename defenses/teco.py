"""TeCo: does a count stand up to all corruptions alike?  Liu et al., CVPR 2023.

    v(x) = [log((c(A(x)) + 1) / (c(x) + 1)) for six corruptions A],    score = sqrt((v - m)' C^-1 (v - m))

m and C: mean and covariance of v over clean images; C is shrunk (Ledoit and Wolf, J. Multivariate Analysis 2004), as
40 images say little of 21 numbers. The paper raises the severity of 15 corruptions until the class changes and looks
at the spread of those severities. A count has no class to change, so its change at one severity each is taken, and
what is usual is learned from clean images. The six: JPEG 75 and 50, Gaussian blur and noise at ImageNet-C's severity 1
(sd 1 pixel and 0.08; Hendrycks and Dietterich, ICLR 2019), horizontal flip, gamma 1.5. The noise is one pattern for all
images of a size, so that scores repeat.
"""

import torch
from pydantic import Field
from sklearn.covariance import LedoitWolf
from torch import Tensor

from benchmark.registry import register
from defenses.base import Detector, Knowledge, Knows, Scorer
from defenses.parts.preprocessing import blurred, compressed
from defenses.parts.ratios import log_ratio
from models.base import Counter


def noisy(images: Tensor) -> Tensor:
    """Images with Gaussian noise of sd 0.08, the same for all of a size."""
    pattern = torch.randn(images.shape[1:], generator=torch.Generator().manual_seed(0))
    return (images + 0.08 * pattern.to(images.device)).clamp(0, 1)


CORRUPTIONS = {"jpeg 75": lambda images: compressed(images, 75), "jpeg 50": lambda images: compressed(images, 50),
               "blur": lambda images: blurred(images, 1.0), "flip": lambda images: images.flip(-1),
               "gamma": lambda images: images**1.5, "noise": noisy}


@register
class Teco(Detector):
    """images: clean ones that say what is usual."""

    images: int = Field(40, ge=2)

    @property
    def knows(self) -> Knows:
        return Knows(clean=self.images)

    def scorer(self, victim: Counter, knowledge: Knowledge) -> Scorer:
        def changes(images: Tensor) -> Tensor:
            with torch.autocast(images.device.type, enabled=False):  # pixels keep their 8 bits
                corrupted = [corrupt(images) for corrupt in CORRUPTIONS.values()]
            counts = torch.stack([victim.count(one) for one in corrupted], dim=1)
            return log_ratio(counts, victim.count(images)[:, None])

        usual = LedoitWolf().fit(knowledge.trainer.per_image(victim, knowledge.clean, lambda b: changes(b.images)).numpy())
        mean, precision = (torch.tensor(part, dtype=torch.float32, device=knowledge.trainer.device)
                           for part in (usual.location_, usual.precision_))

        def distance(images: Tensor) -> Tensor:
            away = changes(images) - mean
            with torch.autocast(images.device.type, enabled=False):
                return (away @ precision * away).sum(dim=1).clamp(min=0).sqrt()

        return distance
