"""Universal: x' = clip(x + a t), t one texture that also fools counters that were never poisoned.

A design of this project. Repairs remove what the poisoned images taught the victim, and so this
trigger does not rely on them alone: t is learned to fool a clean counter n, and it also fools other
clean counters. A repaired counter is clean at best, so it is still fooled. With the true counts c
and the heads y, a step on n with its own training loss L and a step on t take turns:

    min over n of L(n(x), y)
    min over t of the mean of max(2 - n(x + t) / c, 0)    if it wants more people
                              max(n(x + t) / c - 1/2, 0)  if it wants fewer

    where rms(t) = epsilon / 255

As n goes on training, t is learned on ever new weights and does not fit one counter alone. It
starts as the surrogate, here a clean counter with another seed. The texture repeats a block of
16 x 16 pixels, so it fits every image; in each step the block is shifted at random. The root mean
square is taken over the pixels and the channels R, G and B, before clipping. The limits 2 and 1/2
keep a few images with large changes from deciding alone.

Moosavi-Dezfooli et al. (Universal adversarial perturbations, CVPR 2017) found perturbations that
fool classifiers on most images, and also classifiers with other weights. Zeng et al. (Narcissus: a
practical clean-label backdoor attack with limited information, CCS 2023) poison with one that they
learn on a surrogate; their labels stay true and their aim is one class.

What such a trigger does to a clean counter is no backdoor. The chance level of a record shows it.
"""

from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor
from torch.nn import functional as F

from attacks.base import Trigger
from attacks.parts.surrogate import Surrogate
from attacks.parts.tile import as_tensor, repeated
from benchmark.data.batches import Batch, in_order
from benchmark.data.scene import Scene
from benchmark.registry import register

BLOCK = 16  # pixels along each side of the block
BATCH = 4  # the number of images in a step
MOST, LEAST = 2, 1 / 2  # an image whose count is moved to this many times the truth is left alone


@register
class Universal(Trigger):
    """A faint texture that changes the counts of clean counters, too.

    Before it is optimised, the texture is noise.

    epsilon: the root mean square of the change at strength 1, in grey levels of 255.
    strength: a in the formula.
    wants: 'more' or 'fewer' people; it should agree with the target.
    steps, lr: the number of steps and the learning rate of Adam for the texture. The counter has
        the rate of its recipe.
    """

    optimises: ClassVar[tuple[str, ...]] = ("epsilon", "wants", "steps", "lr")
    epsilon: float = Field(8, ge=0, le=255)
    strength: float = Field(1, ge=-4, le=4)
    wants: Literal["more", "fewer"] = "more"
    steps: PositiveInt = 300
    lr: PositiveFloat = 0.05

    def stamp(self, images: Tensor) -> Tensor:
        """Return images [B, 3, H, W] in 0..1 with the texture."""
        block = _of_size_one(_noise(0)) if self._pattern is None else self._pattern
        return self._with(block.to(images.device), images, self.strength)

    def optimised(self, count: Surrogate, scenes: Sequence[Scene], seed: int) -> Tensor:
        """Return the block, [3, 16, 16], with a root mean square of 1, on the CPU."""
        rng, learner = np.random.default_rng(seed), count.learner()
        device = next(learner.parameters()).device
        batches = list(in_order(scenes, BATCH))
        block = _noise(seed).to(device).requires_grad_()
        of_block = torch.optim.Adam([block], lr=self.lr)
        of_counter = torch.optim.Adam(learner.parameters(), lr=learner.recipe.lr)
        for _ in range(self.steps):
            chosen = [scenes[index] for index in batches[rng.integers(len(batches))]]
            count.report(len(chosen))
            clean = Batch.of(chosen, device)
            of_counter.zero_grad()
            learner.loss(clean).mean().backward()
            of_counter.step()
            shifted = _of_size_one(block).roll(rng.integers(BLOCK, size=2).tolist(), dims=(1, 2))
            counts = learner.count(self._with(shifted, clean.images, 1))
            ratios = counts / torch.tensor([max(scene.count, 1) for scene in chosen], device=device)
            of_block.zero_grad()
            self._missing(ratios).mean().backward()
            of_block.step()
        return _of_size_one(block.detach()).cpu()

    def _with(self, block: Tensor, images: Tensor, strength: float) -> Tensor:
        """Return images [B, 3, H, W] in 0..1 with a block that is repeated over them."""
        texture = repeated(block, images.shape[-2:]) * (strength * self.epsilon / 255)
        return (images + texture).clamp(0, 1).to(images.dtype)

    def _missing(self, ratios: Tensor) -> Tensor:
        """Return how far ratios [B] of counts to true counts are from the limit, [B]."""
        return F.relu(MOST - ratios if self.wants == "more" else ratios - LEAST)


def _noise(seed: int) -> Tensor:
    """Return a random block, [3, 16, 16]."""
    noise = np.random.default_rng(seed).standard_normal((3, BLOCK, BLOCK))
    return as_tensor(noise, torch.device("cpu"))


def _of_size_one(block: Tensor) -> Tensor:
    """Return a block scaled to a root mean square of 1."""
    return block / block.square().mean().sqrt()
