"""TeCo: suspect images whose count some corruptions change early, others late. Liu, CVPR 2023.

    s_k(x) = the lowest severity of corruption A_k at which |c(A_k(x)) - c(x)| > tolerance c(x),
             6 if there is none
    score(x) = sd over k of s_k(x)

The idea is that clean images are about as robust to one corruption as to another, and that a
trigger survives some corruptions better than others. In the paper s_k is the severity at which the
class changes; a count has left its answer when it is more than 10% away, the band in which the
benchmark calls a count right. No clean images are needed, and no threshold is learned.

The paper takes fifteen corruptions at five severities; here are twelve, see parts/corruptions.py.
The standard deviation is that of the public code (CGCL-codes/TeCo), over all k and not over k - 1.
That code seems to corrupt images that are corrupted already, as it writes into the list that it
reads; here, as in the paper, each corruption starts from the image itself.

The cost is at most 60 counts of an image beside the first. An image that has left its answer is not
corrupted further.
"""

import torch
from pydantic import PositiveFloat
from torch import Tensor

from benchmark.registry import register
from defenses.base import Detector, Knowledge, Scorer
from defenses.parts.corruptions import IMAGENET_C
from defenses.parts.preprocessing import Change
from models.base import Counter


@register
class Teco(Detector):
    """tolerance: change of the count at which the answer is another, as a share of the count."""

    version = 2
    tolerance: PositiveFloat = 0.1

    def scorer(self, victim: Counter, knowledge: Knowledge) -> Scorer:
        def spread(images: Tensor) -> Tensor:
            counts = _count(victim, images)
            severities = [severity_of_change(victim, images, counts, severities, self.tolerance)
                          for severities in IMAGENET_C.values()]
            return torch.stack(severities).float().std(dim=0, correction=0)

        return spread


def severity_of_change(counter: Counter, images: Tensor, counts: Tensor, severities: list[Change],
                       tolerance: float) -> Tensor:
    """The lowest severity at which each count leaves its band, [B]; one more if it never does.

    counts: those of the images themselves, [B].
    severities: a corruption at each severity, from the lowest to the highest.
    """
    found = torch.full_like(counts, len(severities) + 1)
    staying = torch.arange(len(images), device=images.device)
    for severity, corrupt in enumerate(severities, start=1):
        with torch.autocast(images.device.type, enabled=False):  # pixels keep their 8 bits
            corrupted = (corrupt(images[staying].float()) * 255).round().clamp(0, 255) / 255
        change = (_count(counter, corrupted) - counts[staying]).abs()
        left = change > tolerance * counts[staying]
        found[staying[left]] = severity
        staying = staying[~left]
        if not len(staying):
            break
    return found


def _count(counter: Counter, images: Tensor) -> Tensor:
    """The counts of images, float32 [B]. A count below 0 is taken as 0."""
    return counter.count(images).float().clamp(min=0)
