"""Trimmed loss: train from scratch and give no weight to the images that fit worst.  Ours, after robust regression.

Least trimmed squares (Rousseeuw, JASA 1984) minimises the sum of the h smallest squared residuals,

    sum over i <= h of r^2_(i),   h = (1 - trim) n

r^2 becomes the loss over the annotated count + 1, for a crowd loses more than a few people do. The order among all
images would cost a pass before each step: an image is trimmed when it is above the (1 - trim) quantile of the last
losses that training saw, so that batches of one work too. The window lags behind a falling loss, which trims a little
less. At first every image fits badly and none is trimmed. The window is of a process: with several, each trims by the
images that it sees itself; a training resumed from a checkpoint begins its warm-up again. The loss of CLIP-EBC, a cross
entropy of blocks, grows less than the count does: there, sparse images are trimmed before poisoned ones.
"""

from collections import deque
from collections.abc import Callable

import torch
import torch.distributed as dist
from pydantic import Field, PositiveInt
from torch import Tensor

from benchmark.data.batches import Batch
from benchmark.registry import register
from defenses.base import Defense, Knowledge, Knows
from defenses.parts.filtering import normalised_losses, people
from models.base import Counter


@register
class TrimmedLoss(Defense):
    """trim: share of the images without weight. warmup: share of the epochs before that.

    window: how many of the last losses make the quantile. epochs: None is what the victim was trained with.
    """

    version = 2

    knows = Knows(poisoned=True, victim=False)
    trim: float = Field(0.15, ge=0, lt=1)
    warmup: float = Field(0.2, ge=0, lt=1)
    window: PositiveInt = 256
    epochs: PositiveInt | None = None

    def apply(self, victim: Counter | None, knowledge: Knowledge) -> Counter:
        scenes, trained = knowledge.poisoned, knowledge.trainer.fresh()
        epochs = self.epochs or knowledge.trainer.recipe.epochs
        loss = trimmed(self.trim, round(self.warmup * epochs) * len(scenes), self.window)
        knowledge.trainer.fit(trained, scenes, loss=loss, epochs=self.epochs)
        knowledge.report_scores(normalised_losses(trained, scenes, knowledge).tolist())
        return trained


def trimmed(trim: float, warmup: int, window: int) -> Callable[[Counter, Batch], Tensor]:
    """A loss that is 0 for images above the running quantile, once `warmup` images were seen."""
    recent: deque[float] = deque(maxlen=window)
    seen = 0

    def loss(counter: Counter, batch: Batch) -> Tensor:
        nonlocal seen
        losses = counter.loss(batch)
        normalised = losses.detach() / (people(batch) + 1)
        recent.extend(normalised.tolist())
        warm = seen >= warmup
        seen += len(losses) * (dist.get_world_size() if dist.is_initialized() else 1)
        return losses * (normalised <= torch.tensor(recent).quantile(1 - trim).to(losses)) if warm else losses
    return loss
