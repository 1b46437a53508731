"""Inversion: search for one small perturbation that moves all counts alike.  After DRMGuard, 2024.

DRMGuard is by Du et al., arXiv 2411.04811. With the count c, the clean images x_i, and G(x) = x + a
universal perturbation within `bound`,

    d_i = log((c(G(x_i)) + 1) / (c(x_i) + 1))
    minimise over G, once for + and once for -:    Var(d) + max(0, shift -+ mean(d))
    suspicion = max over + and - of    +-mean(d) / (sd(d) + 0.1)

DRMGuard, and SecureGaze after it (Du et al., SenSys 2025), search for a change of the images under
which the output varies least, because the backdoor that they detect has one output for all images.
The count of a triggered image depends on the image, but the factor that the backdoor multiplies it
by does not, so the variance here is that of the log-ratio. In place of DRMGuard's network, which
makes the change, and its penalty on the size of the change, there is one perturbation of low
resolution with a bound of 0.1: as much as a blended trigger changes at alpha 0.1. The 0.1 in the
suspicion is the relative error up to which the paper under test calls a count accurate.

A clean counter has universal perturbations too. Its suspicion is reported beside the victim's as a
control. Where it is as high as the victim's, the inversion found nothing of the trigger.
"""

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor

from benchmark.registry import register
from defenses.base import Inspector, Knowledge, Knows
from defenses.parts.ratios import log_ratio
from defenses.parts.universal import UniversalPerturbation
from models.base import Counter


@register
class Inversion(Inspector):
    """One perturbation is searched for that raises the counts, and one that lowers them.

    images: number of clean images.
    epochs: number of passes over the images for each direction; 20 passes over 40 images in batches
        of 8 are 100 steps.
    bound: largest change of a pixel, for images in 0..1.
    size: side of the perturbation before it is upsampled.
    shift: mean log-ratio that the search aims at; 0.7 is half or twice as many people.
    lr: learning rate of Adam, as a share of `bound`.
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
        return self.inverted(counter, knowledge)[0]

    def inverted(self, counter: Counter,
                 knowledge: Knowledge) -> tuple[float, UniversalPerturbation]:
        """The suspicion of a counter, and the perturbation that it comes from."""
        found = []
        for sign in (1, -1):
            perturbation = self._minimised(counter, knowledge, sign)
            found.append((sign * self._consistency(counter, perturbation, knowledge), perturbation))
        return max(found, key=lambda suspicion_and_perturbation: suspicion_and_perturbation[0])

    def _consistency(self, counter: Counter, perturbation: UniversalPerturbation,
                     knowledge: Knowledge) -> float:
        """The mean log-ratio of the clean counts with a perturbation, over its spread plus 0.1."""
        moved = knowledge.trainer.per_image(
            counter, knowledge.clean, lambda batch: shifts(counter, perturbation, batch.images))
        return float(moved.mean() / (moved.std() + 0.1))

    def _minimised(self, counter: Counter, knowledge: Knowledge,
                   sign: int) -> UniversalPerturbation:
        """The perturbation that minimises the loss in one direction.

        Var(d) is the minimum over m of the mean of (d - m)^2. This allows m to be a running mean
        over batches.

        sign: 1 for more people, -1 for fewer.
        """
        trainer = knowledge.trainer
        running_mean = 0.0
        perturbation = UniversalPerturbation(self.size, self.bound, trainer.device)
        optimizer = torch.optim.Adam(perturbation.parameters(), lr=self.lr * self.bound)
        for batch in trainer.batches(counter, knowledge.clean, self.epochs, whole=True,
                                     batch_size=8):
            with trainer.autocast():
                moved = shifts(counter, perturbation, batch.images)
            running_mean = 0.9 * running_mean + 0.1 * float(moved.detach().mean())
            variance = (moved - running_mean).square().mean()
            shortfall = (self.shift - sign * moved.mean()).clamp(min=0)
            optimizer.zero_grad()
            (variance + shortfall).backward()
            optimizer.step()
            perturbation.project()
        return perturbation


def shifts(counter: Counter, perturbation: UniversalPerturbation, images: Tensor) -> Tensor:
    """The log-ratio of each image's count with the perturbation to that without it, [B]."""
    with torch.no_grad():
        before = counter.count(images)
    return log_ratio(counter.count(perturbation(images)), before)
