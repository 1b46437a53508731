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

The authors' code unlearns for 5 rounds with Adam at 1e-3, BackdoorBench at 1e-4. Both rates and the
victim's own are tried, and after each round there is a candidate: a higher rate is a stronger
repair, and at the same rate more rounds are; see defenses/parts/strength.py. BatchNorm uses its
stored statistics, because those of perturbed images must not enter the repaired counter.
"""

from collections.abc import Iterator
from dataclasses import replace

import torch
from pydantic import Field, PositiveFloat, PositiveInt

from benchmark.registry import register
from defenses.base import Defense, Knowledge, Knows
from defenses.parts.ratios import log_ratio
from defenses.parts.strength import Candidate, strongest
from defenses.parts.universal import UniversalPerturbation
from models.base import Counter

RATES = (1e-4, 1e-3)  # the learning rates of BackdoorBench and of the authors
BATCH = 8  # images per step of the perturbation; a single one would fit it to that image


@register
class IBAU(Defense):
    """Each round finds a perturbation in one pass over the images and unlearns it in another.

    images: number of clean images.
    rounds: number of rounds; after fewer rounds there are weaker candidates, unless lr is given.
    lr: learning rate of Adam on the counter. None tries 1e-4, 1e-3 and the victim's.
    size: side of the perturbation before it is upsampled.
    bound: largest change of a pixel, for images in 0..1.
    step: length of a step of the perturbation, as a share of the bound.
    """

    version = 3
    images: PositiveInt = 40
    rounds: PositiveInt = 5
    lr: PositiveFloat | None = None
    size: PositiveInt = 16
    bound: float = Field(0.1, gt=0, le=1)
    step: PositiveFloat = 1.0

    @property
    def knows(self) -> Knows:
        return Knows(clean=self.images, validation=self.lr is None)

    def apply(self, victim: Counter, knowledge: Knowledge) -> Counter:
        if self.lr is not None:
            *_, last = self.rounds_at(self.lr, victim, knowledge)
            return strongest([last], knowledge)
        rates = sorted({*RATES, knowledge.trainer.recipe.lr})
        return strongest((candidate for lr in rates
                          for candidate in self.rounds_at(lr, victim, knowledge)), knowledge)

    def rounds_at(self, lr: float, victim: Counter, knowledge: Knowledge) -> Iterator[Candidate]:
        """A copy of the victim after each round of unlearning at one learning rate."""
        trainer = knowledge.trainer
        counter = victim.copy().to(trainer.device).eval()
        optimizer = torch.optim.Adam(counter.parameters(), lr=lr)
        for number in range(1, self.rounds + 1):
            perturbation = self.worst(counter, knowledge)
            for batch in trainer.batches(counter, knowledge.clean):
                with trainer.autocast():
                    perturbed = replace(batch, images=perturbation(batch.images).detach())
                    loss = (counter.loss(perturbed) + counter.loss(batch)).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            yield Candidate({"lr": lr, "rounds": number}, counter.copy)

    def worst(self, counter: Counter, knowledge: Knowledge) -> UniversalPerturbation:
        """The perturbation that moves the counts of the clean images most."""
        trainer = knowledge.trainer
        perturbation = UniversalPerturbation(self.size, self.bound, trainer.device)
        for batch in trainer.batches(counter, knowledge.clean, batch_size=BATCH):
            with torch.no_grad(), trainer.autocast():
                before = counter.count(batch.images)
            with trainer.autocast():
                after = counter.count(perturbation(batch.images))
                shift = log_ratio(after, before).square().mean()
            gradient, = torch.autograd.grad(shift, perturbation.delta)
            perturbation.delta.data += self.step * self.bound * gradient.sign()
            perturbation.project()
        return perturbation
