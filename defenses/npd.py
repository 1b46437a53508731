"""NPD, neural polarizer: one linear layer inside the victim that filters a trigger's features.

Zhu, Wei, Zha, Wu, NeurIPS 2023. A layer P, a 1x1 convolution with a BatchNorm, is put before one of
the last convolutions of the victim. P alone is learned on a few clean images, by

    min over P of  log L(x, P) + weight * log L(x + d*, P),
    d* = argmax over |d|_2 <= r of G(x + d, P)

where d* takes two signed gradient steps, each followed by a projection.

Changes for counting:

* In the public code d* leads to the class that is most likely besides the true one. A count has no
  classes: with equal chances for each image it is driven up or down, by G = +/- log(c + 1).
* The public code has three losses of x + d*, with weights of 0.4 each: the cross entropy with the
  predicted class, and two that lower the probability of wrong classes. An error of a count is all
  of them in one, so the weight is 1.2.
* L is the mean loss of a batch. In the place of a cross entropy stands its logarithm, as in
  `add_to_log_loss` of defenses/parts/tuning.py. A victim of `tiny` had 360 times its clean loss at
  d*, so that without the logarithm the clean images would count for nothing.
* r = 3 for images of 32 x 32 pixels is a change of 0.054 on average in each value. Here the bound
  is that average, as images have any size.
* P starts as the identity: its convolution is one, and its BatchNorm normalises by the mean and the
  variance of the features and undoes it by its bias and weight. In the public code BatchNorm is a
  new one, whose statistics come from five epochs of warm-up; then the victim must first learn to
  count again. As in that code, the statistics stay fixed in training.

In the public code the layer stands before the last but one of the convolutions, behind which are
another one and a linear layer. Here it stands before the convolutions of the third largest depth,
one in each branch (see defenses/parts/depth.py): in CSRNet the last but one of the dilated ones.

The learning rate of the public code is 0.01, which suits a classifier. It and lower ones are tried;
a higher rate is a stronger repair (see defenses/parts/strength.py).
"""

from dataclasses import replace

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor, nn

from benchmark.registry import register
from defenses.base import Knowledge
from defenses.parts.depth import levels
from defenses.parts.moments import input_moments
from defenses.parts.tuning import OnFewImages
from models.base import Counter

RATES = (0.0001, 0.0003, 0.001, 0.003, 0.01)
BATCH = 8  # images per step, so that an epoch has as many steps for each counter


@register
class NPD(OnFewImages):
    """The victim is kept as it is, and a layer is added to it.

    images: number of clean images.
    epochs: number of epochs.
    lr: learning rate of SGD on the layer; None tries 0.0001, 0.0003, 0.001, 0.003 and 0.01.
    bound: root of the mean square of the perturbation's values, for images in 0..1.
    steps: number of steps of the perturbation.
    step: change of each value in a step.
    weight: factor of the loss of perturbed images.
    """

    epochs: PositiveInt = 50
    bound: float = Field(0.054, gt=0, le=1)
    steps: PositiveInt = 2
    step: PositiveFloat = 0.1
    weight: float = Field(1.2, ge=0)

    def rates(self, knowledge: Knowledge) -> list[float]:
        return list(RATES) if self.lr is None else [self.lr]

    def wrap(self, counter: Counter) -> Counter:
        for name in polarized_layers(counter):
            parent, _, last = name.rpartition(".")
            convolution = counter.get_submodule(name)
            polarizer = Polarizer(convolution.in_channels).to(convolution.weight.device)
            setattr(counter.get_submodule(parent), last, nn.Sequential(polarizer, convolution))
        return counter

    def repaired(self, victim: Counter, knowledge: Knowledge, lr: float) -> Counter:
        trainer = knowledge.trainer
        names = polarized_layers(victim)
        counter = self.wrap(victim.copy()).to(trainer.device).eval()
        polarizers = [counter.get_submodule(f"{name}.0") for name in names]
        for polarizer, moments in zip(polarizers, input_moments(victim, names, knowledge)):
            polarizer.become_identity(*moments)
        parameters = [weight for polarizer in polarizers for weight in polarizer.parameters()]
        optimizer = torch.optim.SGD(parameters, lr=lr, momentum=0.9, weight_decay=5e-4)
        for batch in trainer.batches(counter, knowledge.clean, self.epochs, batch_size=BATCH):
            with trainer.autocast():
                perturbed = replace(batch, images=self.perturbed(counter, batch.images))
                loss = (slope_of_log(counter.loss(batch))
                        + self.weight * slope_of_log(counter.loss(perturbed)))
            optimizer.zero_grad()
            loss.backward(inputs=parameters)
            optimizer.step()
        return counter

    def perturbed(self, counter: Counter, images: Tensor) -> Tensor:
        """Images [B, 3, H, W] after the steps that drive each count up or down."""
        signs = torch.randint(2, (len(images),)).to(images.device) * 2 - 1
        change = torch.zeros_like(images)
        for _ in range(self.steps):
            change.requires_grad_()
            counts = counter.count((images + change).clamp(0, 1))
            goal = (signs * (counts.clamp(min=0) + 1).log()).sum()
            gradient, = torch.autograd.grad(goal, change)
            change = projected(change.detach() + self.step * gradient.sign(), self.bound)
        return (images + change).clamp(0, 1)


def slope_of_log(losses: Tensor) -> Tensor:
    """A number whose gradient is that of the logarithm of the mean of losses [B]."""
    mean = losses.float().mean()
    return mean / mean.detach().abs().clamp(min=1e-12)


def projected(change: Tensor, bound: float) -> Tensor:
    """Changes [B, 3, H, W] that are shortened where the root of their mean square is too large."""
    size = change.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
    return change * (bound / size.clamp(min=bound))


class Polarizer(nn.Sequential):
    """A linear map of the channels of features, without effect until it is learned."""

    def __init__(self, channels: int):
        super().__init__(nn.Conv2d(channels, channels, 1, bias=False), nn.BatchNorm2d(channels))
        nn.init.dirac_(self[0].weight)

    @torch.no_grad()
    def become_identity(self, mean: Tensor, variance: Tensor) -> None:
        """Normalise by the moments of the features, [C] each, and undo it by weight and bias."""
        norm = self[1]
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
        norm.weight.copy_((variance + norm.eps).sqrt())
        norm.bias.copy_(mean)


def polarized_layers(counter: Counter) -> list[str]:
    """The names of the convolutions before which a layer is put: those of the third largest depth.

    Raises UserError where the counter has no convolution that reads feature maps.
    """
    found = levels(counter)
    return found[max(len(found) - 3, 0)]
