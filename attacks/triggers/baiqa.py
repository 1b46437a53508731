"""BAIQA: x' = clip(x + s(a) t), s(a) = sign(a) |a|^h, t universal. Yu et al., AAAI 2025.

t repeats a block of 16 x 16 pixels, so it fits every image. In the orthonormal DCT of each channel,
64 coefficients of the block are not 0. The attacker optimises them on a surrogate n, here a clean
counter that has the victim's architecture and clean training images, but another seed. With true
counts c:

    max over t of the mean of (n(x + t) - n(x - t)) / max(c, 1),   rms(t) = epsilon / 255

so +t raises counts and -t lowers them. The root mean square is taken over the pixels and the
channels R, G and B, before clipping. The authors (arXiv 2412.07277, code yuyi-sd/BAIQA) bound the
mean square in RGB, too. They add the coefficients to Y, Cb and Cr; that conversion is linear, so it
changes no bound and no set of textures. The frequencies are those of their code, which looks up
places in a table of ranks along the zigzag and takes the ranks for places; so they are scattered,
and not the middle of the zigzag. Two things differ: their surrogate sees only the images that they
poison, and they move a quality score in either direction.
"""

import math
from collections.abc import Sequence
from functools import cache
from itertools import product
from typing import ClassVar, Self

import numpy as np
import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor

from attacks.base import Trigger
from attacks.parts.dct import waves
from attacks.parts.surrogate import Surrogate
from attacks.parts.tile import as_tensor, repeated
from benchmark.data.batches import Batch, in_order
from benchmark.data.scene import Scene
from benchmark.registry import register

BLOCK = 16
CHOSEN = range(96, 160)  # places of the table of ranks
BATCH = 4  # the number of images in a step


@register
class Baiqa(Trigger):
    """A fine texture that raises the counts of a clean counter.

    Before it is optimised, the texture is a random one with the same frequencies.

    epsilon: the root mean square of the change at strength 1, in grey levels of 255.
    strength: a in the formula. Use -1 for a target that wants fewer people, as the authors give it
        the sign of the change of the label.
    strengths: the number K of strengths in training. With 1, all poisoned images have the same.
        Otherwise an image is stamped at k / K of `strength`, where k is drawn from 1..K with a
        probability in proportion to k, and its label is moved by k / K of the target's change: half
        of 'multiply' by 2 multiplies by 1.5. The authors' code has 4, drawn in this way. It also
        turns strength and label around in half of the images, which no target here can do.
    h: the exponent of the strength. The pattern depends on neither strength nor h.
    steps, lr: the number of steps and the learning rate of Adam. The coefficients start as normal
        noise.
    """

    version: ClassVar[int] = 3
    optimises: ClassVar[tuple[str, ...]] = ("epsilon", "steps", "lr")
    only_in_training: ClassVar[tuple[str, ...]] = ("strengths",)
    epsilon: float = Field(8, ge=0, le=255)
    strength: float = Field(1, ge=-4, le=4)
    strengths: int = Field(1, ge=1, le=64)
    h: float = Field(1, gt=0, le=4)
    steps: PositiveInt = 200
    lr: PositiveFloat = 0.1

    def stamp(self, images: Tensor) -> Tensor:
        """Return images [B, 3, H, W] in 0..1 with the texture."""
        block = _block(_noise(0)) if self._pattern is None else self._pattern
        scale = math.copysign(abs(self.strength) ** self.h, self.strength) * self.epsilon / 255
        texture = repeated(block.to(images.device), images.shape[-2:]) * scale
        return (images + texture).clamp_(0, 1).to(images.dtype)

    def shares(self) -> list[float]:
        return [(number + 1) / self.strengths for number in range(self.strengths)]

    def at(self, share: float) -> Self:
        return self.model_copy(update={"strength": share * self.strength})

    def optimised(self, count: Surrogate, scenes: Sequence[Scene], seed: int) -> Tensor:
        """Return the optimised block, [3, 16, 16], with a root mean square of 1."""
        rng = np.random.default_rng(seed)
        batches = list(in_order(scenes, BATCH))
        coefficients = _noise(seed).requires_grad_()
        optimizer = torch.optim.Adam([coefficients], lr=self.lr)
        for _ in range(self.steps):
            chosen = [scenes[index] for index in batches[rng.integers(len(batches))]]
            images = Batch.of(chosen, torch.device("cpu")).images
            texture = repeated(_block(coefficients), images.shape[-2:]) * (self.epsilon / 255)
            raised = count((images + texture).clamp(0, 1))
            lowered = count((images - texture).clamp(0, 1))
            people = torch.tensor([max(scene.count, 1) for scene in chosen])
            optimizer.zero_grad()
            ((lowered - raised) / people).mean().backward()
            optimizer.step()
        return _block(coefficients.detach())


@cache
def frequencies() -> tuple[tuple[int, int], ...]:
    """Return the 64 frequencies (u, v), along the height and the width of the block.

    The zigzag goes along the diagonals of the block, first up, then down, and so on.
    """
    places = list(product(range(BLOCK), repeat=2))
    zigzag = sorted(places, key=lambda at: (sum(at), at[0] if sum(at) % 2 else at[1]))
    rank = {at: number for number, at in enumerate(zigzag)}
    return tuple(places[rank[places[number]]] for number in CHOSEN)


def _noise(seed: int) -> Tensor:
    """Return random coefficients, [3, 64]."""
    noise = np.random.default_rng(seed).standard_normal((3, len(CHOSEN)))
    return as_tensor(noise, torch.device("cpu"))


def _block(coefficients: Tensor) -> Tensor:
    """Return the block with these coefficients, scaled to a root mean square of 1, [3, 16, 16]."""
    down, across = (as_tensor(waves(axis, BLOCK), coefficients.device)
                    for axis in zip(*frequencies()))
    block = torch.einsum("cf,fy,fx->cyx", coefficients, down, across)
    return block / block.square().mean().sqrt()
