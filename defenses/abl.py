"""Anti-backdoor learning: isolate the images that are learned first, train on the others, then unlearn the isolated.

Li et al., NeurIPS 2021, section 3. What is learned early has a low loss early: poisoned images do. With l the loss:

    tune:     minimise sign(mean l - gamma) l                    (local gradient ascent: the loss stays about gamma)
    isolate:  the images with the lowest l
    train:    minimise l of the others
    unlearn:  minimise l of the others - l of the isolated      (global gradient ascent)

l is the loss over the annotated count + 1, and is ranked within bins of the count: as it is, near-empty scenes would be
lowest, not poisoned ones. gamma was 0.5 of a cross entropy; here it is that share of an untrained counter's mean l, so
that it fits any loss. Its sign is the batch's, as in the public code: image by image, poisoned images too would be held
at gamma. So counters that are trained image by image see eight at a time here, and where memory or several processes
cut a batch, its parts have signs of their own. Ascent on a squared error has no end: l of the isolated becomes l l0 /
(l + l0), which is l at first and l0 at most, with l0 the mean l of the others. The public code unlearns on the isolated
alone, at a small rate of SGD; Adam at the usual one destroys a counter, so that the others are trained on beside them.
Every training keeps its best epoch on clean validation images. Original epochs: 20, 60 and 20.
"""

from collections.abc import Callable, Iterable
from itertools import cycle

import numpy as np
import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor
from torch.nn import functional as F

from benchmark.data.batches import Batch
from benchmark.registry import register
from defenses.base import Defense, Knowledge, Knows
from defenses.parts.filtering import in_bins, normalised_losses, people, percentiles
from models.base import Counter

BATCH = 8  # images whose mean loss has a sign


@register
class ABL(Defense):
    """isolate: share of each bin of counts, at least an image. gamma: share of an untrained counter's loss.

    tune_epochs, unlearn_epochs: of the first and the last training. epochs: of the one between; None is the victim's.
    unlearn_lr: None is the victim's.
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
        scenes, fit, counter = knowledge.poisoned, knowledge.trainer.fit, knowledge.trainer.fresh()
        recipe = knowledge.trainer.recipe
        counter.prepare(scenes)
        untrained = normalised_losses(counter, scenes, knowledge).mean()
        fit(counter, scenes, loss=local_ascent(self.gamma * float(untrained)), epochs=self.tune_epochs,
            batch_size=max(recipe.batch_size, BATCH), warmup=min(recipe.warmup, self.tune_epochs // 2))
        losses = normalised_losses(counter, scenes, knowledge)
        knowledge.report_scores(in_bins(scenes, -losses, percentiles).tolist())
        isolated = in_bins(scenes, losses, lambda values: lowest(values, self.isolate))
        out, others = ([scene for scene, cut in zip(scenes, isolated) if cut == side] for side in (1, 0))
        fit(counter, others, epochs=self.epochs)
        usual = normalised_losses(counter, others, knowledge).mean()
        views = list(knowledge.trainer.batches(counter, out))
        fit(counter, others, loss=global_ascent(views, float(usual)), epochs=self.unlearn_epochs, lr=self.unlearn_lr,
            warmup=0)
        return counter


def local_ascent(gamma: float) -> Callable[[Counter, Batch], Tensor]:
    """The loss, its sign turned where the batch's mean normalised loss is below gamma."""
    def loss(counter: Counter, batch: Batch) -> Tensor:
        losses = counter.loss(batch)
        return torch.sign((losses.detach() / (people(batch) + 1)).mean() - gamma) * losses
    return loss


def global_ascent(isolated: Iterable[Batch], usual: float) -> Callable[[Counter, Batch], Tensor]:
    """The loss, less that of the next batch of the isolated, which is bounded."""
    following = cycle(isolated)
    return lambda counter, batch: counter.loss(batch) - bounded(counter, next(following), usual).mean()


def bounded(counter: Counter, batch: Batch, usual: float) -> Tensor:
    """l l0 / (l + l0) of the normalised loss l and l0 = usual, put back on the scale of the loss: [B]."""
    size = people(batch) + 1
    return size * usual * F.softsign(counter.loss(batch) / size / usual)


def lowest(values: np.ndarray, share: float) -> np.ndarray:
    """1 for the share of the values that is lowest, at least one of them; 0 for the others."""
    order = np.argsort(values, kind="stable")
    return np.isin(np.arange(len(values)), order[: max(round(share * len(values)), 1)]).astype(float)
