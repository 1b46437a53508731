"""LIRA: x' = clip(x + a epsilon g(x)), g a network of the image in -1..1. Doan et al., ICCV 2021.

The trigger has another pattern in each image. The attacker learns the weights of g, whose output
passes through tanh, on a surrogate n, here a clean counter with another seed. With true counts c:

    max over g of the mean of (n(x + epsilon g(x)) - n(x - epsilon g(x))) / max(c, 1)

so +g raises counts and -g lowers them. The bound epsilon alone keeps the change small, as it is a
constraint in the paper; no term of the loss does.

The paper is Doan, Lao, Zhao and Li, LIRA: learnable, imperceptible and robust backdoor attacks. Its
attacker controls the training: g and the victim are learned in turns, each for the other, and then
the victim is tuned on images of a fixed g. The attacker here has nothing but the data, so g never
sees the victim: only its idea, a learned bounded change of each image, is that of the paper, and
poisoning the victim's images takes the place of the second stage. The paper's g is an autoencoder
or a U-Net of the whole image, moves towards a class, and has a bound of 0.01 of normalised pixels
(configuration of BackdoorBench, config/attack/lira). This g has four convolutions and sees 9 x 9
pixels.

200 steps take about 15 seconds on one core of a CPU, for images of 112 x 176 pixels and the counter
`tiny`. The time grows with the number of pixels.
"""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor

from attacks.base import OnImages, Trigger
from attacks.parts.generator import convolved, drawn_weights, one_by_one
from benchmark.data.batches import Batch, in_order
from benchmark.data.scene import Scene
from benchmark.registry import register
from benchmark.utils.device import state

CHANNELS = (3, 16, 16, 16, 3)
BATCH = 4  # the number of images in a step


@register
class Lira(Trigger):
    """A faint learned change of each image that raises the counts of a clean counter.

    Before it is optimised, the network has random weights.

    epsilon: the largest change of a pixel at strength 1, in grey levels of 255.
    strength: a in the formula. Use -1 for a target that wants fewer people.
    steps, lr: the number of steps and the learning rate of Adam.
    """

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

    def optimised(self, count: OnImages, scenes: Sequence[Scene], seed: int) -> Tensor:
        """Return the weights of g as one vector, on the CPU."""
        rng, device = np.random.default_rng(seed), state().device
        batches = list(in_order(scenes, BATCH))
        weights = _start(seed).to(device).requires_grad_()
        optimizer = torch.optim.Adam([weights], lr=self.lr)
        for _ in range(self.steps):
            chosen = [scenes[index] for index in batches[rng.integers(len(batches))]]
            images = Batch.of(chosen, device).images
            change = _change(images, weights) * (self.epsilon / 255)
            raised = count((images + change).clamp(0, 1))
            lowered = count((images - change).clamp(0, 1))
            people = torch.tensor([max(scene.count, 1) for scene in chosen], device=device)
            optimizer.zero_grad()
            ((lowered - raised) / people).mean().backward()
            optimizer.step()
        return weights.detach().cpu()


def _start(seed: int) -> Tensor:
    """Return random weights of g as one vector."""
    return drawn_weights(CHANNELS, np.random.default_rng(seed))


def _change(images: Tensor, weights: Tensor) -> Tensor:
    """Return g of images [B, 3, H, W] in 0..1, in -1..1."""
    return convolved(4 * images - 2, weights, CHANNELS).tanh()
