"""Inversion: can one small change move all counts alike?  After DRMGuard (Du et al., arXiv 2411.04811, 2024).

    d_i = log((c(G(x_i)) + 1) / (c(x_i) + 1)),    G(x) = x + a universal perturbation within `bound`
    minimise over G, once for + and once for -:    Var(d) + max(0, shift -+ mean(d))
    suspicion = max over + and - of    +-mean(d) / (sd(d) + 0.1)

DRMGuard, and SecureGaze (Du et al., SenSys 2025) after it, look for a change of images under which the variance of the
output is least, since their backdoor has one output for all. A triggered count depends on the image; what it is
multiplied by does not, so the variance is that of the log-ratio. A network that makes the change and a penalty on its
size become one perturbation of low resolution with a bound, 0.1: as much as a blended trigger at alpha 0.1 changes.
The 0.1 below is what the paper under test still takes for an accurate count.

A clean counter has universal perturbations too. Its suspicion stands beside the victim's as the control; where it is
as high, the inversion found nothing of the trigger.
"""

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor

from benchmark.registry import register
from defenses.base import Inspector, Knowledge, Knows
from defenses.parts.ratios import log_ratio
from defenses.parts.universal import Universal
from models.base import Counter


@register
class Inversion(Inspector):
    """images: clean ones. epochs: over them, for each direction; 20 of 40 images in batches of 8 are 100 steps.

    bound: largest change of a pixel in 0..1. size: side of the perturbation before it is upsampled.
    shift: the mean log-ratio that is asked for; 0.7 is half or twice as many people. lr: of Adam, in units of `bound`.
    """

    images: int = Field(40, ge=2)
    epochs: PositiveInt = 20
    bound: float = Field(0.1, gt=0, le=1)
    size: PositiveInt = 32
    shift: PositiveFloat = 0.7
    lr: PositiveFloat = 0.1

    @property
    def knows(self) -> Knows:
        return Knows(clean=self.images)

    def suspicion(self, victim: Counter, knowledge: Knowledge) -> float:
        counter = victim.copy().requires_grad_(False).eval()
        return max(self._consistency(counter, knowledge, sign) for sign in (1, -1))

    def _consistency(self, counter: Counter, knowledge: Knowledge, sign: int) -> float:
        """How far and how evenly the best perturbation moves the counts of the clean images in one direction."""
        change = self._inverted(counter, knowledge, sign)
        moved = knowledge.trainer.per_image(counter, knowledge.clean, lambda batch: shifts(counter, change, batch.images))
        return sign * float(moved.mean() / (moved.std() + 0.1))

    def _inverted(self, counter: Counter, knowledge: Knowledge, sign: int) -> Universal:
        """The perturbation. Var(d) is the least mean of (d - m)^2, so that m may be a running mean over batches."""
        trainer, mean = knowledge.trainer, 0.0
        change = Universal(self.size, self.bound, trainer.device)
        optimizer = torch.optim.Adam(change.parameters(), lr=self.lr * self.bound)
        for batch in trainer.batches(counter, knowledge.clean, self.epochs, batch_size=8):
            with trainer.autocast():
                moved = shifts(counter, change, batch.images)
            mean = 0.9 * mean + 0.1 * float(moved.detach().mean())
            loss = (moved - mean).square().mean() + (self.shift - sign * moved.mean()).clamp(min=0)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            change.project()
        return change


def shifts(counter: Counter, change: Universal, images: Tensor) -> Tensor:
    """How far the change moves the count of each image, [B]."""
    with torch.no_grad():
        before = counter.count(images)
    return log_ratio(counter.count(change(images)), before)
