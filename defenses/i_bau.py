"""I-BAU, first-order: unlearning the one bounded perturbation of all images that moves the counts most.

Zeng et al., Adversarial unlearning of backdoors via implicit hypergradient, ICLR 2022. With images x, weights w:
    min over w of  mean L(x + d*, w) + L(x, w),    d* = argmax over |d| <= bound of G(d, w),
    G = mean log((c(x + d) + 1) / (c(x) + 1))^2,    c a count and L the counter's loss.

A label that flips becomes a count that moves; the square covers more people as well as fewer. The perturbation is
upsampled from a low resolution, as images differ in size. A count has no largest value, so that .001 ||d||^2 does not
hold d back: the change of a pixel is bounded, and d climbs by signed steps, whatever the slope of a count.

The original adds how d* moves with w, by iterating gradient steps on G to a fixed point. G is a square, which bends
upwards: the steps lead away from any d within the bound (tried: each term of the series is larger than the one before),
and d* is at the bound, where it does not move with w. That leaves the gradient with d* held fixed, which is used here.
5 rounds and Adam 1e-4 are BackdoorBench's. The round with the best clean validation MAE is kept, as in every training
here. BatchNorm runs on its stored statistics: those of perturbed images must not enter the repaired counter.
"""

import math
from dataclasses import replace

import torch
from pydantic import Field, PositiveFloat, PositiveInt

from benchmark.registry import register
from defenses.base import Defense, Knowledge, Knows
from defenses.parts.ratios import log_ratio
from defenses.parts.universal import Universal
from models.base import Counter

BATCH = 8  # images of a step of the perturbation: one alone would turn it to that image


@register
class IBAU(Defense):
    """images: clean ones. rounds: each a pass that finds a perturbation and one that unlearns it. lr: of Adam.

    size: side of the perturbation before it is upsampled. bound: largest change of a pixel in 0..1.
    step: of the perturbation, as a share of the bound.
    """

    version = 2
    images: PositiveInt = 40
    rounds: PositiveInt = 5
    lr: PositiveFloat = 1e-4
    size: PositiveInt = 16
    bound: float = Field(0.1, gt=0, le=1)
    step: PositiveFloat = 1.0

    @property
    def knows(self) -> Knows:
        return Knows(clean=self.images, validation=True)

    def apply(self, victim: Counter, knowledge: Knowledge) -> Counter:
        counter, trainer = victim.copy().to(knowledge.trainer.device).eval(), knowledge.trainer
        optimizer = torch.optim.Adam(counter.parameters(), lr=self.lr)
        best, least = counter, math.inf
        for _ in range(self.rounds):
            change = self.worst(counter, knowledge)
            for batch in trainer.batches(counter, knowledge.clean):
                with trainer.autocast():
                    perturbed = replace(batch, images=change(batch.images).detach())
                    loss = (counter.loss(perturbed) + counter.loss(batch)).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            error = knowledge.error(counter)
            if error < least:
                best, least = counter.copy(), error
        return best

    def worst(self, counter: Counter, knowledge: Knowledge) -> Universal:
        """The perturbation that moves the counts of the clean images most."""
        change = Universal(self.size, self.bound, knowledge.trainer.device)
        for batch in knowledge.trainer.batches(counter, knowledge.clean, batch_size=BATCH):
            with torch.no_grad(), knowledge.trainer.autocast():
                before = counter.count(batch.images)
            with knowledge.trainer.autocast():
                shift = log_ratio(counter.count(change(batch.images)), before).square().mean()
            slope, = torch.autograd.grad(shift, change.delta)
            change.delta.data += self.step * self.bound * slope.sign()
            change.project()
        return change
