"""Trimmed loss: train from scratch and give no weight to the images that fit worst.

A method of this project, after robust regression. Least trimmed squares (Rousseeuw, JASA 1984)
minimises the sum of the h smallest squared residuals,

    sum over i <= h of r^2_(i),   h = (1 - trim) n

The loss divided by the annotated count + 1 takes the place of r^2; without the division, crowded
scenes would be trimmed. Ranking all images would take a pass over them before each step. Instead,
an image is trimmed if its loss is above the (1 - trim) quantile of the last losses of the training,
which works for batches of one image too. This window lags behind a falling loss, so a little less
is trimmed. In the beginning every image fits badly, and none is trimmed.

Each process has a window of its own: with several processes, each trims by the images that it has
seen itself. A training that is resumed from a checkpoint begins its warm-up again. The loss of
CLIP-EBC is a cross entropy of blocks, which grows more slowly than the count; for that counter,
sparse images are trimmed before poisoned ones.
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
from defenses.parts.filtering import annotated_counts, normalised_losses
from models.base import Counter


@register
class TrimmedLoss(Defense):
    """A new counter is trained on the poisoned set.

    trim: share of the images that are given no weight.
    warmup: share of the epochs at the beginning in which no image is trimmed.
    window: number of losses from which the quantile is computed.
    epochs: number of epochs; None takes the victim's.
    """

    version = 2
    knows = Knows(poisoned=True, victim=False)
    trim: float = Field(0.15, ge=0, lt=1)
    warmup: float = Field(0.2, ge=0, lt=1)
    window: PositiveInt = 256
    epochs: PositiveInt | None = None

    def apply(self, victim: Counter | None, knowledge: Knowledge) -> Counter:
        scenes = knowledge.poisoned
        counter = knowledge.trainer.fresh()
        epochs = self.epochs or knowledge.trainer.recipe.epochs
        warmup = round(self.warmup * epochs) * len(scenes)
        loss = trimmed(self.trim, warmup, self.window)
        knowledge.trainer.fit(counter, scenes, loss=loss, epochs=self.epochs)
        knowledge.report_scores(normalised_losses(counter, scenes, knowledge).tolist())
        return counter


def trimmed(trim: float, warmup: int, window: int) -> Callable[[Counter, Batch], Tensor]:
    """A loss that is 0 for images above the (1 - trim) quantile of the last `window` losses.

    warmup: the number of images, over all processes, that are seen before any is trimmed.
    """
    recent: deque[float] = deque(maxlen=window)
    seen = 0

    def loss(counter: Counter, batch: Batch) -> Tensor:
        nonlocal seen
        losses = counter.loss(batch)
        normalised = losses.detach() / (annotated_counts(batch) + 1)
        recent.extend(normalised.tolist())
        is_warm = seen >= warmup
        seen += len(losses) * (dist.get_world_size() if dist.is_initialized() else 1)
        if not is_warm:
            return losses
        limit = torch.tensor(recent).quantile(1 - trim).to(losses)
        return losses * (normalised <= limit)
    return loss
