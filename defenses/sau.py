"""SAU: unlearn the changes of single images that fool the repaired counter as they fool the victim.

Wei, Zhang, Zha, Wu, "Shared adversarial unlearning", NeurIPS 2023, arXiv 2307.10562. With the
counts c and c0 of the repaired counter and of the victim, and a change d of an image x,

    s = log((c(x + d) + 1) / (c(x) + 1)),    s0 the same for c0
    d = argmax over |d| <= bound of  beta (|s| + |s0|) / 2 - (s - s0)^2
    minimise  L(x) + weight mean(L) max(s / s0, 0),  the last term for changes with |s0| > log 1.1

The inner problem looks for shared adversarial examples: they move both counts, and by the same
factor. The outer one keeps the clean loss and takes away the share of the victim's shift that the
repaired counter still makes.

Changes for counting: a label that flips becomes a count that is doubled or halved. As in the paper,
an image leaves the first term of the inner problem once its count is, and both terms once both
counts are and their shifts differ by less than a tenth, the band in which the benchmark calls a
count right. The divergence of the two predictions is the squared difference of the shifts. A class
that is no longer to be predicted becomes a shift that is no longer to be made; the logarithm that
the paper takes there is infinite at the start, where both counters are equal. mean(L) is the
victim's mean loss on clean images, which makes the weight a pure number.

The numbers are those of BackdoorBench, whose implementation is by the first author: Adam at 1e-4,
bound and step 0.2, 5 steps from the upper corner, beta 0.01, weight 1, and 100 rounds. A round
takes about a dozen forward and backward passes over the images.
"""

import math
from typing import ClassVar

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, PrivateAttr
from torch import Tensor

from benchmark.data.batches import Batch
from benchmark.registry import register
from defenses.base import Knowledge
from defenses.parts.ratios import log_ratio
from defenses.parts.unlearning import LossOfBatch, Unlearning
from models.base import Counter

MOVED = math.log(1.1)  # the log-ratio beyond which a count is wrong


@register
class SAU(Unlearning):
    """In each step the changes of the images of a batch are found and unlearned.

    images: number of clean images.
    rounds: number of passes over the images; after fewer there are weaker candidates, unless lr is
        given.
    lr: learning rate of Adam on the counter. None tries 1e-4 and the victim's.
    bound: largest change of a pixel, for images in 0..1.
    step: length of a step of the change, as a share of the bound.
    steps: number of steps in which the change is found.
    shift: log-ratio of the counts that the search aims at; 0.7 is half or twice as many people.
    beta: weight of the shifts beside their difference.
    weight: weight of the shared shifts beside the clean loss.
    """

    rates: ClassVar = (1e-4,)
    rounds: PositiveInt = 100
    bound: float = Field(0.2, gt=0, le=1)
    step: PositiveFloat = 1.0
    steps: PositiveInt = 5
    shift: PositiveFloat = 0.7
    beta: NonNegativeFloat = 0.01
    weight: PositiveFloat = 1.0
    _usual_loss: float = PrivateAttr()  # the victim's mean loss on the clean images

    def apply(self, victim: Counter, knowledge: Knowledge) -> Counter:
        unchanged = victim.copy()
        losses = knowledge.trainer.per_image(unchanged, knowledge.clean, unchanged.loss)
        self._usual_loss = float(losses.mean())  # measured once, for all rates and rounds
        return super().apply(victim, knowledge)

    def objective(self, counter: Counter, victim: Counter, knowledge: Knowledge) -> LossOfBatch:
        scale = self.weight * self._usual_loss

        def loss_of(batch: Batch) -> Tensor:
            counts = [model.count(batch.images).detach() for model in (counter, victim)]
            changed = batch.images + self.shared(counter, victim, batch.images, counts)
            with torch.no_grad():
                of_victim = log_ratio(victim.count(changed), counts[1])
            own = log_ratio(counter.count(changed), counts[0])
            size = of_victim.abs()
            kept = (own * of_victim.sign()).relu() / size.clamp(min=MOVED)
            return counter.loss(batch) + scale * torch.where(size > MOVED, kept, 0.0)

        return loss_of

    def shared(self, counter: Counter, victim: Counter, images: Tensor,
               counts: list[Tensor]) -> Tensor:
        """The changes [B, 3, H, W] of images that move both counts alike.

        counts: those of the images by the counter and by the victim, [B] each.
        """
        change = torch.full_like(images, self.bound)
        for _ in range(self.steps):
            change.requires_grad_()
            own, of_victim = (log_ratio(model.count(images + change), before)
                              for model, before in zip((counter, victim), counts))
            moved = [shift.abs() > self.shift for shift in (own, of_victim)]
            reach = sum(torch.where(far, 0.0, shift.abs())
                        for far, shift in zip(moved, (own, of_victim))) / 2
            apart = own - of_victim
            is_shared = moved[0] & moved[1] & (apart.abs() <= MOVED)
            loss = torch.where(is_shared, 0.0, apart.square()) - self.beta * reach
            gradient, = torch.autograd.grad(loss.sum(), change)
            change = change.detach() - self.step * self.bound * gradient.sign()
            change.clamp_(-self.bound, self.bound)
        return change.detach()
