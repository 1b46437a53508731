"""Adversarial neuron pruning: channels whose small change already ruins the counts are masked out.

Wu, Wang, NeurIPS 2021. With a mask m in [0, 1] and perturbations d, x of each channel's weight and bias,
    min over m of  a L(m w, b) + (1 - a) max over |d|, |x| <= eps of L((m + d) w, (1 + x) b),
d, x by one signed step from a random start. Then w of the channels with low masks is put to 0; b stays.
L = log(1 + loss / (count + 1)), the counter's loss per annotated person; the log because 1.4 times the weights of each
layer multiply a squared error, where a cross entropy grows with its logits. w, b are those of a BatchNorm, which runs
on its stored statistics, or the convolution's where there is none. The public code tries to prune all masks up to 0,
0.05, ... 0.9. After few steps many counters have no mask near 0, others too many to lose all: the 1, 2, 4, ... lowest
are tried too. Of all that leave the clean validation MAE at most 10% above the victim's, the one that prunes most is
taken: fewer channels may well cost more than more do, as they go together. 100 steps, not 2000: those would be hours of
CSRNet on a CPU.
"""

from itertools import islice

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.func import functional_call

from benchmark.data.batches import Batch
from benchmark.registry import register
from defenses.base import Defense, Knowledge, Knows
from defenses.parts.pruning import Layer, bearable, growing, layers_of, prune
from models.base import Counter

WEIGHT = ("weight",)  # a mask of 0 leaves the bias
THRESHOLDS = [step / 20 for step in range(19)]


@register
class ANP(Defense):
    """images: clean ones. eps: bound of the perturbations. a: weight of the loss without them.

    steps, lr: of SGD on the masks. tolerance: by how much pruning may raise the clean validation MAE.
    """

    version = 2
    images: PositiveInt = 40
    eps: float = Field(0.4, ge=0)
    a: float = Field(0.2, ge=0, le=1)
    steps: PositiveInt = 100
    lr: PositiveFloat = 0.2
    tolerance: float = Field(0.1, ge=0)

    @property
    def knows(self) -> Knows:
        return Knows(clean=self.images, validation=True)

    def apply(self, victim: Counter, knowledge: Knowledge) -> Counter:
        repaired = victim.copy()
        plans = growing(self.learn(victim.copy(), knowledge), THRESHOLDS)
        *_, most = {}, *filter(bearable(victim, knowledge, self.tolerance, WEIGHT), plans)
        prune(repaired, most, WEIGHT)
        return repaired

    def learn(self, counter: Counter, knowledge: Knowledge) -> dict[Layer, Tensor]:
        """The mask of each layer's channels."""
        trainer = knowledge.trainer
        neurons = Neurons(counter.to(trainer.device).requires_grad_(False).eval())
        masks = [torch.ones(size, device=trainer.device, requires_grad=True) for size in neurons.sizes]
        factors = [*masks, *(torch.ones_like(mask) for mask in masks)]  # of weights and of biases
        optimizer = torch.optim.SGD(masks, lr=self.lr, momentum=0.9)
        for batch in islice(trainer.batches(counter, knowledge.clean, self.steps), self.steps):
            with trainer.autocast():
                worst = self.worst(neurons, batch, [factor.detach() for factor in factors])
                robust = neurons.loss(batch, list(map(torch.add, factors, worst)))
                loss = self.a * neurons.loss(batch, factors) + (1 - self.a) * robust
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            for mask in masks:
                mask.data.clamp_(0, 1)
        return {layer: mask.detach().cpu() for layer, mask in zip(neurons.layers, masks)}

    def worst(self, neurons: "Neurons", batch: Batch, factors: list[Tensor]) -> list[Tensor]:
        """The perturbations d, then x, that raise the loss."""
        noise = [torch.empty_like(factor).uniform_(-self.eps, self.eps).requires_grad_() for factor in factors]
        loss = neurons.loss(batch, list(map(torch.add, factors, noise)))
        slopes = torch.autograd.grad(loss, noise, materialize_grads=True)  # none for a bias that is not there
        return [(n.detach() + self.eps * slope.sign()).clamp(-self.eps, self.eps) for n, slope in zip(noise, slopes)]


class Neurons(nn.Module):
    """A counter seen as its L, a function of factors of its channels' weights and biases; its own stay as they are."""

    def __init__(self, counter: Counter):
        super().__init__()
        self.counter, self.layers = counter, layers_of(counter)
        self.sizes = [counter.get_submodule(layer.convolution).out_channels for layer in self.layers]

    def forward(self, batch: Batch) -> Tensor:
        people = torch.tensor([len(points) for points in batch.points], device=batch.images.device)
        return (self.counter.loss(batch).float() / (people + 1)).log1p().mean()

    def loss(self, batch: Batch, factors: list[Tensor]) -> Tensor:
        """L where each layer's weight and bias are multiplied by factors: those of all weights, then of all biases."""
        parameters = [f"counter.{layer.last}.{name}" for name in ("weight", "bias") for layer in self.layers]
        own = dict(self.named_parameters())
        changed = {name: own[name] * factor.view(-1, *[1] * (own[name].dim() - 1))
                   for name, factor in zip(parameters, factors) if name in own}
        return functional_call(self, changed, (batch,))
