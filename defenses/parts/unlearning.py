"""Unlearning: rounds in which a counter is trained against what changes of its images do to it."""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import ClassVar

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from benchmark.data.batches import Batch
from defenses.base import Defense, Knowledge, Knows
from defenses.parts.strength import Candidate, strongest
from models.base import Counter

LossOfBatch = Callable[[Batch], Tensor]  # from a batch to the loss of each of its images, [B]


def with_and_without(counter: Counter, change: Callable[[Tensor], Tensor]) -> LossOfBatch:
    """The loss of changed images plus that of the images as they are, with the true labels in both.

    change: from images [B, 3, H, W] to changed ones. Nothing is learned through it.
    """
    def loss_of(batch: Batch) -> Tensor:
        changed = replace(batch, images=change(batch.images).detach())
        return counter.loss(changed) + counter.loss(batch)

    return loss_of


class Unlearning(Defense):
    """A repair that unlearns for some rounds. A subclass writes `objective`.

    Several learning rates are tried, and after each round there is a candidate: a higher rate is a
    stronger repair, and at the same rate more rounds are; see defenses/parts/strength.py. BatchNorm
    uses its stored statistics, because those of changed images must not enter the repaired counter.

    images: number of clean images.
    rounds: number of rounds; after fewer rounds there are weaker candidates, unless lr is given.
    lr: learning rate of Adam on the counter. None tries those of `rates` and the victim's.

    A class attribute, `whole`, says whether the counter is trained on whole images where its recipe
    has crops, because what is unlearned covers a whole image, as a trigger does.
    """

    rates: ClassVar[tuple[float, ...]]
    whole: ClassVar[bool] = False
    images: PositiveInt = 40
    rounds: PositiveInt = 5
    lr: PositiveFloat | None = None

    @property
    def knows(self) -> Knows:
        return Knows(clean=self.images, validation=self.lr is None)

    @abstractmethod
    def objective(self, counter: Counter, victim: Counter, knowledge: Knowledge) -> LossOfBatch:
        """The loss of a round, made at its start.

        counter: as repaired so far, on the device, in evaluation mode.
        victim: as it was given, on the device, in evaluation mode. It must not change.
        """

    def apply(self, victim: Counter, knowledge: Knowledge) -> Counter:
        if self.lr is not None:
            *_, last = self.rounds_at(self.lr, victim, knowledge)
            return strongest([last], knowledge)
        rates = sorted({*self.rates, knowledge.trainer.recipe.lr})
        return strongest((candidate for lr in rates
                          for candidate in self.rounds_at(lr, victim, knowledge)), knowledge)

    def rounds_at(self, lr: float, victim: Counter, knowledge: Knowledge) -> Iterator[Candidate]:
        """A copy of the victim after each round of unlearning at one learning rate."""
        trainer = knowledge.trainer
        counter = victim.copy().to(trainer.device).eval()
        unchanged = victim.copy().to(trainer.device).eval().requires_grad_(False)
        optimizer = torch.optim.Adam(counter.parameters(), lr=lr)
        for number in range(1, self.rounds + 1):
            loss_of = self.objective(counter, unchanged, knowledge)
            for batch in trainer.batches(counter, knowledge.clean, whole=self.whole):
                with trainer.autocast():
                    loss = loss_of(batch).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            yield Candidate({"lr": lr, "rounds": number}, counter.copy)
