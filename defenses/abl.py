"""Anti-backdoor learning: isolate what is learned first, train on the rest, unlearn the isolated.

Li et al., NeurIPS 2021, section 3. A training learns poisoned images early, so their loss is low
early. With l the loss of an image, a new counter is trained in four steps:

    tune:     minimise sign(mean l - gamma) l (local gradient ascent: l stays near gamma)
    isolate:  the images with the lowest l
    train:    minimise l of the others
    unlearn:  minimise l of the others - l of the isolated (global gradient ascent)

Changes for counting:

* l is the counter's loss divided by the annotated count + 1, and images are ranked by l within bins
  of the count. By the loss itself, nearly empty scenes would be isolated instead of poisoned ones.
  The sign, the ranking and the bound below use l; the loss that is minimised is not divided.
* In the paper gamma is a cross entropy of 0.5. Here it is a share, 0.5, of the mean l of an
  untrained counter, so that it fits any loss.
* The sign is that of the batch mean, as in the public code. A sign for each image would hold
  poisoned images at gamma too. For this reason the first step uses batches of at least eight
  images. A batch that is divided, among processes or for lack of memory, has a sign for each part.
* Gradient ascent on a squared error has no end. The l of isolated images becomes l l0 / (l + l0),
  with l0 the mean l of the others: about l where l is small, and below l0 everywhere.
* The public code unlearns on the isolated images alone, with SGD at a small rate. Adam at the usual
  rate would destroy a counter that way, so the others stay in the loss.

Every training keeps its best epoch on clean validation images. The paper trains for 20, 60 and 20
epochs; the defaults of the authors' code are 10, 60 and 5.

The method expects that poisoned images have low losses. In the records of this project they have
high ones, because an image with false heads is hard for a counter that is not yet sure of the
trigger. The isolated images are then mostly clean ones, and the method fails; see the AUROC of its
scores in the table of detectors.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor
from torch.nn import functional as F

from benchmark.data.batches import Batch
from benchmark.registry import register
from defenses.base import Defense, Knowledge, Knows
from defenses.parts.filtering import (annotated_counts, normalised_losses, percentile_ranks,
                                      score_in_bins)
from models.base import Counter

MIN_BATCH = 8  # images whose mean loss decides the sign


@register
class ABL(Defense):
    """A new counter is trained on the poisoned set, without and then against the isolated images.

    isolate: share of the images of each bin of counts that is isolated, at least one image.
    gamma: loss that the first training aims at, as a share of an untrained counter's.
    tune_epochs: number of epochs of the first training.
    epochs: number of epochs of the second training; None takes the victim's.
    unlearn_epochs: number of epochs of the last training.
    unlearn_lr: learning rate of the last training; None takes the victim's.
    """

    version = 2
    knows = Knows(poisoned=True, victim=False)
    isolate: float = Field(0.01, gt=0, lt=1)
    gamma: float = Field(0.5, ge=0)
    tune_epochs: PositiveInt = 20
    epochs: PositiveInt | None = None
    unlearn_epochs: PositiveInt = 20
    unlearn_lr: PositiveFloat | None = None

    def apply(self, victim: Counter | None, knowledge: Knowledge) -> Counter:
        scenes = knowledge.poisoned
        trainer = knowledge.trainer
        counter = trainer.fresh()
        counter.prepare(scenes)
        untrained = float(normalised_losses(counter, scenes, knowledge).mean())
        trainer.fit(counter, scenes, loss=local_ascent(self.gamma * untrained),
                    epochs=self.tune_epochs, batch_size=max(trainer.recipe.batch_size, MIN_BATCH),
                    warmup=min(trainer.recipe.warmup, self.tune_epochs // 2))
        losses = normalised_losses(counter, scenes, knowledge)
        knowledge.report_scores(score_in_bins(scenes, -losses, percentile_ranks).tolist())
        flags = score_in_bins(scenes, losses, lambda values: flag_lowest(values, self.isolate))
        isolated = [scene for scene, flag in zip(scenes, flags) if flag]
        others = [scene for scene, flag in zip(scenes, flags) if not flag]
        trainer.fit(counter, others, epochs=self.epochs)
        usual = float(normalised_losses(counter, others, knowledge).mean())
        batches = list(trainer.batches(counter, isolated))
        trainer.fit(counter, others, loss=GlobalAscent(batches, usual),
                    epochs=self.unlearn_epochs, lr=self.unlearn_lr, warmup=0)
        return counter


def local_ascent(gamma: float) -> Callable[[Counter, Batch], Tensor]:
    """The loss, with its sign reversed where the batch's mean normalised loss is below gamma."""
    def loss(counter: Counter, batch: Batch) -> Tensor:
        losses = counter.loss(batch)
        normalised = losses.detach() / (annotated_counts(batch) + 1)
        return torch.sign(normalised.mean() - gamma) * losses
    return loss


class GlobalAscent:
    """The loss minus the bounded loss of the next batch of isolated images; see `bounded_loss`.

    isolated: the batches, which take turns. usual: the bound.
    """

    def __init__(self, isolated: Sequence[Batch], usual: float):
        self.isolated, self.usual, self.passes = isolated, usual, 0

    def begin_after(self, passes: int) -> None:
        """Go on with the batch that comes after a number of passes, in a resumed training too."""
        self.passes = passes

    def __call__(self, counter: Counter, batch: Batch) -> Tensor:
        isolated = self.isolated[self.passes % len(self.isolated)]
        self.passes += 1
        return counter.loss(batch) - bounded_loss(counter, isolated, self.usual).mean()


def bounded_loss(counter: Counter, batch: Batch, usual: float) -> Tensor:
    """The bounded normalised loss l l0 / (l + l0), l0 = usual, on the scale of the loss, [B]."""
    size = annotated_counts(batch) + 1
    return size * usual * F.softsign(counter.loss(batch) / size / usual)


def flag_lowest(values: np.ndarray, share: float) -> np.ndarray:
    """1 for the lowest share of the values, at least one of them, and 0 for the others: [n]."""
    number = max(round(share * len(values)), 1)
    lowest = np.argsort(values, kind="stable")[:number]
    return np.isin(np.arange(len(values)), lowest).astype(float)
