"""Adversarial neuron pruning: mask the channels whose small perturbation already ruins the counts.

Wu, Wang, NeurIPS 2021. With a mask m in [0, 1] and perturbations d, x of the weight w and the bias
b of each channel,

    min over m of  a L(m w, b) + (1 - a) max over |d|, |x| <= eps of L((m + d) w, (1 + x) b)

where d and x are found by one signed gradient step from a random start. Then w of the channels with
low masks is set to 0, and b stays.

L = log(1 + loss / (count + 1)), with the counter's loss per annotated person. The logarithm is
needed because weights of 1.4 times the size in every layer multiply a squared error, where a cross
entropy only grows with its logits. w and b are those of the BatchNorm, which uses its stored
statistics, or those of the convolution where no BatchNorm follows it.

The public code tries to prune all channels with masks up to 0, 0.05, ... 0.9. After few steps many
counters have no mask near 0, and others have too many to lose all of them, so the 1, 2, 4, ...
channels with the lowest masks are tried too. Of all plans the one that prunes most within the
budget is taken (see defenses/parts/strength.py). All plans are tried, because channels work
together: pruning fewer may well raise the error more than pruning more. There are 100 steps instead
of the paper's 2000, which would take hours for CSRNet on a CPU.

The public code adds the signed step to the random start without a limit, so that its perturbations
reach 2 eps; the paper bounds them by eps, as here.
"""

from itertools import islice

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor

from benchmark.data.batches import Batch
from benchmark.registry import register
from defenses.base import Defense, Knowledge, Knows
from defenses.parts.neurons import Neurons, learned_masks
from defenses.parts.pruning import WEIGHT, Layer, mask_plans, pruned_candidates
from defenses.parts.strength import strongest
from models.base import Counter


@register
class ANP(Defense):
    """The masks are learned on clean images; how much is pruned is chosen by the validation error.

    images: number of clean images.
    eps: bound of the perturbations.
    a: weight of the loss without perturbations.
    steps: number of steps of SGD on the masks.
    lr: learning rate of SGD on the masks.
    channels: the number of channels with the lowest masks that are pruned; None chooses it.
    """

    version = 3
    images: PositiveInt = 40
    eps: float = Field(0.4, ge=0)
    a: float = Field(0.2, ge=0, le=1)
    steps: PositiveInt = 100
    lr: PositiveFloat = 0.2
    channels: PositiveInt | None = None

    @property
    def knows(self) -> Knows:
        return Knows(clean=self.images, validation=self.channels is None)

    def apply(self, victim: Counter, knowledge: Knowledge) -> Counter:
        masks = self.learn(victim.copy(), knowledge)
        plans = mask_plans(masks, self.channels)
        return strongest(pruned_candidates(victim, plans, WEIGHT), knowledge)

    def learn(self, counter: Counter, knowledge: Knowledge) -> dict[Layer, Tensor]:
        """The mask of each layer's channels, [C] each. The counter itself is moved and frozen."""
        trainer = knowledge.trainer
        neurons = Neurons(counter.to(trainer.device).requires_grad_(False).eval())

        def loss_of(batch: Batch, masks: list[Tensor]) -> Tensor:
            factors = [*masks, *map(torch.ones_like, masks)]  # of the weights, then of the biases
            worst = self.worst(neurons, batch, [factor.detach() for factor in factors])
            robust = neurons.loss(batch, list(map(torch.add, factors, worst)))
            return self.a * neurons.loss(batch, factors) + (1 - self.a) * robust

        batches = islice(trainer.batches(counter, knowledge.clean, self.steps), self.steps)
        return learned_masks(neurons, batches, trainer, self.lr, loss_of)

    def worst(self, neurons: Neurons, batch: Batch, factors: list[Tensor]) -> list[Tensor]:
        """The perturbations that raise the loss: d of each layer, then x of each layer, [C]."""
        starts = [self._start(factor).requires_grad_() for factor in factors]
        loss = neurons.loss(batch, list(map(torch.add, factors, starts)))
        # A layer without a bias gets a gradient of zeros for it.
        gradients = torch.autograd.grad(loss, starts, materialize_grads=True)
        return [(start.detach() + self.eps * gradient.sign()).clamp(-self.eps, self.eps)
                for start, gradient in zip(starts, gradients)]

    def _start(self, factor: Tensor) -> Tensor:
        """A random perturbation of factors [C], drawn on the CPU: the same on all devices."""
        drawn = torch.empty(factor.shape, dtype=factor.dtype).uniform_(-self.eps, self.eps)
        return drawn.to(factor.device)
