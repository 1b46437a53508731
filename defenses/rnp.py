"""RNP, reconstructive neuron pruning: unlearn clean images, and prune what does not recover.

Li et al., ICML 2023. On a few clean images, the weights w of a copy of the victim are moved to

    w' = max over w of L(w),        until the copy is wrong about most of the images,

and then a mask m in [0, 1] of its channels is learned that makes it right again:

    min over m of L(m w').

Channels that served clean images before the unlearning are needed again and keep their masks; those
of the backdoor do not. The channels of the victim itself with low masks are pruned: the weight
becomes 0, and the bias stays.

Changes for counting:

* L = log(1 + loss / (count + 1)), as in `anp`. The ascent of a squared error has no end, and its
  steps would grow without bound.
* The public code unlearns until the accuracy is 20% or less. Here the accuracy is the share of the
  clean images whose count is at most 10% wrong. A counter is often wrong before any unlearning, so
  the ascent ends at 20% of the victim's own share.
* That is checked after each step and not after each epoch. A count has no limit as an accuracy has:
  one epoch at the public code's rate left `tiny` thousands of people off, and no mask recovered
  it. After the two steps that were enough, the masks recovered all of its accuracy.
* In the public code a mask multiplies the weight of the BatchNorm. Where no BatchNorm follows a
  convolution, it multiplies the weight of the convolution.

The public code tries to prune all channels with masks up to 0, 0.05, ... 0.9, and looks at the test
images. Here these and smaller numbers of channels are tried, as in `anp`, and clean validation
images choose; see defenses/parts/strength.py.
"""

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor

from benchmark.data.batches import Batch
from benchmark.registry import register
from defenses.base import Defense, Knowledge, Knows
from defenses.parts.filtering import annotated_counts
from defenses.parts.neurons import Neurons, learned_masks
from defenses.parts.pruning import WEIGHT, Layer, mask_plans, pruned_candidates
from defenses.parts.strength import strongest
from defenses.parts.tuning import log_losses
from models.base import Counter

BATCH = 8  # images per step, so that an epoch has as many steps for each counter
TOLERANCE = 0.1  # of a count that is right, as in rho_Acc


@register
class RNP(Defense):
    """Weights are unlearned, masks are learned, and the victim is pruned by the masks.

    images: number of clean images.
    threshold: the share of the victim's accuracy on the clean images at which unlearning ends.
    unlearning_lr: learning rate of SGD on the weights.
    recovering_lr: learning rate of SGD on the masks.
    alpha: factor of the loss while the masks are learned.
    epochs: number of epochs of the recovery, and the most of the unlearning.
    channels: the number of channels with the lowest masks that are pruned; None chooses it.
    """

    images: PositiveInt = 40
    threshold: float = Field(0.2, ge=0, le=1)
    unlearning_lr: PositiveFloat = 0.01
    recovering_lr: PositiveFloat = 0.2
    alpha: PositiveFloat = 0.2
    epochs: PositiveInt = 20
    channels: PositiveInt | None = None

    @property
    def knows(self) -> Knows:
        return Knows(clean=self.images, validation=self.channels is None)

    def apply(self, victim: Counter, knowledge: Knowledge) -> Counter:
        unlearned = victim.copy()
        self.unlearn(unlearned, knowledge)
        plans = mask_plans(self.recover(unlearned, knowledge), self.channels)
        return strongest(pruned_candidates(victim, plans, WEIGHT), knowledge)

    def unlearn(self, counter: Counter, knowledge: Knowledge) -> None:
        """Raise the loss of a counter on the clean images, in place, until few counts are right."""
        trainer = knowledge.trainer
        end = self.threshold * accuracy(counter, knowledge)
        counter.to(trainer.device).train()
        optimizer = torch.optim.SGD(counter.parameters(), lr=self.unlearning_lr, momentum=0.9,
                                    weight_decay=5e-4)
        for batch in trainer.batches(counter, knowledge.clean, self.epochs, batch_size=BATCH):
            with trainer.autocast():
                loss = -log_losses(counter, batch).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if accuracy(counter, knowledge) <= end:
                break

    def recover(self, counter: Counter, knowledge: Knowledge) -> dict[Layer, Tensor]:
        """The masks that lower the loss of an unlearned counter, [C] for each layer.

        As in the public code, BatchNorm uses the statistics of each batch. The counter is frozen.
        """
        trainer = knowledge.trainer
        neurons = Neurons(counter.requires_grad_(False)).train()
        batches = trainer.batches(counter, knowledge.clean, self.epochs, batch_size=BATCH)
        return learned_masks(neurons, batches, trainer, self.recovering_lr,
                             lambda batch, masks: self.alpha * neurons.loss(batch, masks))


def accuracy(counter: Counter, knowledge: Knowledge) -> float:
    """The share of the clean images whose count is at most 10% away from the annotated one."""
    def is_right(batch: Batch) -> Tensor:
        truth = annotated_counts(batch)
        return (counter.count(batch.images) - truth).abs() <= TOLERANCE * truth

    return float(knowledge.trainer.per_image(counter, knowledge.clean, is_right).mean())
