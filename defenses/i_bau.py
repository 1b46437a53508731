"""I-BAU, first-order: unlearn the bounded perturbation of all images that moves the counts most.

Zeng et al., Adversarial unlearning of backdoors via implicit hypergradient, ICLR 2022. With images
x and weights w,

    min over w of  mean L(x + d*, w) + L(x, w),    d* = argmax over |d| <= bound of G(d, w),
    G = mean log((c(x + d) + 1) / (c(x) + 1))^2,    c a count and L the counter's loss.

Changes for counting:

* A label that flips becomes a count that moves. The square covers more people as well as fewer.
* Images differ in size, so the perturbation is upsampled from a low resolution.
* A count has no largest value, so the paper's penalty .001 ||d||^2 would not limit d. Here the
  change of each pixel is bounded, and d climbs by signed steps, however steep the count is.

The paper also accounts for how d* moves with w, by iterating gradient steps on G to a fixed point.
That fails here: G is a square, which curves upwards, so the steps lead away from any d within the
bound (in a trial each term of the series was larger than the one before). And d* lies at the bound,
where it does not move with w. What remains is the gradient with d* held fixed, which is used here.

The authors' code unlearns for 5 rounds with Adam at 1e-3, BackdoorBench at 1e-4.
"""

from typing import ClassVar

import torch
from pydantic import Field, PositiveFloat, PositiveInt

from benchmark.registry import register
from defenses.base import Knowledge
from defenses.parts.ratios import log_ratio
from defenses.parts.universal import UniversalPerturbation
from defenses.parts.unlearning import LossOfBatch, Unlearning, with_and_without
from models.base import Counter

BATCH = 8  # images per step of the perturbation; a single one would fit it to that image


@register
class IBAU(Unlearning):
    """Each round finds a perturbation in one pass over the images and unlearns it in another.

    images: number of clean images.
    rounds: number of rounds; after fewer rounds there are weaker candidates, unless lr is given.
    lr: learning rate of Adam on the counter. None tries 1e-4, 1e-3 and the victim's.
    size: side of the perturbation before it is upsampled.
    bound: largest change of a pixel, for images in 0..1.
    step: length of a step of the perturbation, as a share of the bound.
    """

    version = 3
    whole = True
    rates: ClassVar = (1e-4, 1e-3)  # of BackdoorBench and of the authors
    size: PositiveInt = 16
    bound: float = Field(0.1, gt=0, le=1)
    step: PositiveFloat = 1.0

    def objective(self, counter: Counter, victim: Counter, knowledge: Knowledge) -> LossOfBatch:
        return with_and_without(counter, self.worst(counter, knowledge))

    def worst(self, counter: Counter, knowledge: Knowledge) -> UniversalPerturbation:
        """The perturbation that moves the counts of the clean images most."""
        trainer = knowledge.trainer
        perturbation = UniversalPerturbation(self.size, self.bound, trainer.device)
        for batch in trainer.batches(counter, knowledge.clean, whole=True, batch_size=BATCH):
            with torch.no_grad(), trainer.autocast():
                before = counter.count(batch.images)
            with trainer.autocast():
                after = counter.count(perturbation(batch.images))
                shift = log_ratio(after, before).square().mean()
            gradient, = torch.autograd.grad(shift, perturbation.delta)
            perturbation.delta.data += self.step * self.bound * gradient.sign()
            perturbation.project()
        return perturbation
