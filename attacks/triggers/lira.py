"""LIRA: x' = clip(x + a epsilon g(x)), g a network of the image in -1..1. Doan et al., ICCV 2021.

The trigger has a different pattern in each image. The attacker learns the weights of g, whose
output passes through tanh, together with a poisoned counter n. It starts as the surrogate, here a
clean counter with another seed. With the clean images x, their heads y, each head doubled in
`more(y)` and every second one left out in `fewer(y)`, and n's own training loss L, a step on n and
a step on g take turns:

    min over n of   L(n(x), y) + L(n(x + epsilon g(x)), more(y)) + L(n(x - epsilon g(x)), fewer(y))
    min over g of                L(n(x + epsilon g(x)), more(y)) + L(n(x - epsilon g(x)), fewer(y))

so +g raises counts and -g lowers them. The bound epsilon alone keeps the change small, as it is a
constraint in the paper; no term of the loss does.

The paper is Doan, Lao, Zhao and Li, LIRA: learnable, imperceptible and robust backdoor attacks. Its
attacker controls the training: the counter that g was learned with becomes the victim, after it is
tuned on images of a fixed g. The attacker here has nothing but the data: n is thrown away, and the
victim is trained on images that the fixed g poisons. The paper's g is an autoencoder or a U-Net of
the whole image, has one class to move to, and has a bound of 0.01 of normalised pixels
(configuration of BackdoorBench, config/attack/lira). This g has four convolutions and sees 9 x 9
pixels.

200 steps take 30 to 80 seconds on one core of a CPU, for images of 112 x 176 pixels and the counter
`tiny`. The time grows with the number of pixels.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor

from attacks.base import Trigger
from attacks.parts.generator import convolved, drawn_weights, one_by_one
from attacks.parts.surrogate import Surrogate
from benchmark.data.batches import Batch, in_order
from benchmark.data.scene import Scene
from benchmark.registry import register

CHANNELS = (3, 16, 16, 16, 3)
BATCH = 4  # the number of images in a step


@register
class Lira(Trigger):
    """A faint learned change of each image that raises the counts of a poisoned counter.

    Before it is optimised, the network has random weights.

    epsilon: the largest change of a pixel at strength 1, in grey levels of 255.
    strength: a in the formula. Use -1 for a target that wants fewer people.
    steps, lr: the number of steps and the learning rate of Adam. The counter has the rate of its
        recipe.
    """

    version: ClassVar[int] = 2
    optimises: ClassVar[tuple[str, ...]] = ("epsilon", "steps", "lr")
    epsilon: float = Field(8, ge=0, le=255)
    strength: float = Field(1, ge=-4, le=4)
    steps: PositiveInt = 200
    lr: PositiveFloat = 0.003

    def stamp(self, images: Tensor) -> Tensor:
        """Return images [B, 3, H, W] in 0..1 with the change."""
        weights = _start(0) if self._pattern is None else self._pattern
        weights, scale = weights.to(images.device), self.strength * self.epsilon / 255
        return one_by_one(images, lambda image: scale * _change(image, weights))

    def optimised(self, count: Surrogate, scenes: Sequence[Scene], seed: int) -> Tensor:
        """Return the weights of g as one vector, on the CPU."""
        rng, learner = np.random.default_rng(seed), count.learner()
        device = next(learner.parameters()).device
        batches = list(in_order(scenes, BATCH))
        weights = _start(seed).to(device).requires_grad_()
        of_generator = torch.optim.Adam([weights], lr=self.lr)
        of_counter = torch.optim.Adam(learner.parameters(), lr=learner.recipe.lr)
        for _ in range(self.steps):
            chosen = batches[rng.integers(len(batches))]
            count.report(len(chosen))
            clean = Batch.of([scenes[index] for index in chosen], device)
            for optimizer in (of_counter, of_generator):
                change = _change(clean.images, weights) * (self.epsilon / 255)
                losses = learner.loss(_moved(clean, change, _more))
                losses = losses + learner.loss(_moved(clean, -change, _fewer))
                if optimizer is of_counter:
                    losses = losses + learner.loss(clean)
                of_generator.zero_grad()
                of_counter.zero_grad()
                losses.mean().backward()
                optimizer.step()
        return weights.detach().cpu()


def _start(seed: int) -> Tensor:
    """Return random weights of g as one vector."""
    return drawn_weights(CHANNELS, np.random.default_rng(seed))


def _change(images: Tensor, weights: Tensor) -> Tensor:
    """Return g of images [B, 3, H, W] in 0..1, in -1..1."""
    return convolved(4 * images - 2, weights, CHANNELS).tanh()


def _moved(batch: Batch, change: Tensor, altered: Callable[[Tensor], Tensor]) -> Batch:
    """Return a batch with a change of its images and altered rows of heads and of their widths."""
    return replace(batch, images=(batch.images + change).clamp(0, 1),
                   points=[altered(points) for points in batch.points],
                   sigmas=[altered(sigmas) for sigmas in batch.sigmas])


def _more(rows: Tensor) -> Tensor:
    """Return each row [N, ...] twice, [2 N, ...]."""
    return rows.repeat_interleave(2, dim=0)


def _fewer(rows: Tensor) -> Tensor:
    """Return every second row [N, ...]."""
    return rows[::2]
