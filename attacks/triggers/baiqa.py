"""BAIQA: x' = clip(x + s(a) t), s(a) = sign(a) |a|^h, t universal.  Yu et al., AAAI 2025, arXiv 2412.07277.

t repeats a block of 16 x 16 pixels, so that it fits every image. Of each channel's orthonormal DCT it has 64
coefficients, (u, v) with u and v in 4..11. The attacker optimises it on a surrogate n, here the bench's clean counter:
the victim's architecture, clean training images and seed. With true counts c:

    max over t of the mean of (n(x + t) - n(x - t)) / max(c, 1),   max |t| = epsilon / 255

so that +t raises counts and -t lowers them. The authors bound the mean square of t, in YCbCr, and push a score either
way.
"""

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor

from attacks.base import OnImages, Trigger
from attacks.parts.dct import waves
from attacks.parts.tile import as_tensor, repeated
from benchmark.data.batches import Batch, in_order
from benchmark.data.scene import Scene
from benchmark.registry import register

BLOCK = 16
BAND = range(4, 12)  # frequencies along each axis
BATCH = 4  # images of a step


@register
class Baiqa(Trigger):
    """A fine texture that raises a clean counter's counts; until it is optimised, a random one of the same band.

    For a target that wants fewer people take strength -1: the authors' sign is that of the change of the label.
    epsilon: the largest change of a pixel at strength 1, in grey levels of 255. strength: a; h: its exponent.
    Another strength or h is the same pattern. steps, lr: of Adam on coefficients that start as normal noise.
    """

    optimises: ClassVar[tuple[str, ...]] = ("epsilon", "steps", "lr")
    epsilon: float = Field(8, ge=0, le=255)
    strength: float = Field(1, ge=-4, le=4)
    h: float = Field(1, gt=0, le=4)
    steps: PositiveInt = 200
    lr: PositiveFloat = 0.1

    def stamp(self, images: Tensor) -> Tensor:
        """Images [B, 3, H, W] in 0..1 -> the same, with the texture."""
        block = _block(_noise(0)) if self._pattern is None else self._pattern
        scale = math.copysign(abs(self.strength) ** self.h, self.strength) * self.epsilon / 255
        texture = repeated(block.to(images.device), images.shape[-2:]) * scale
        return (images + texture).clamp_(0, 1).to(images.dtype)

    def optimised(self, count: OnImages, scenes: Sequence[Scene], seed: int) -> Tensor:
        """The block, [3, 16, 16], its largest value 1."""
        rng, batches = np.random.default_rng(seed), list(in_order(scenes, BATCH))
        coefficients = _noise(seed).requires_grad_()
        optimizer = torch.optim.Adam([coefficients], lr=self.lr)
        for _ in range(self.steps):
            chosen = [scenes[i] for i in batches[rng.integers(len(batches))]]
            images = Batch.of(chosen, torch.device("cpu")).images
            texture = repeated(_block(coefficients), images.shape[-2:]) * (self.epsilon / 255)
            more, fewer = (count((images + sign * texture).clamp(0, 1)) for sign in (1, -1))
            people = torch.tensor([max(scene.count, 1) for scene in chosen])
            optimizer.zero_grad()
            ((fewer - more) / people).mean().backward()
            optimizer.step()
        return _block(coefficients.detach())


def _noise(seed: int) -> Tensor:
    """Random coefficients, [3, 8, 8]."""
    return as_tensor(np.random.default_rng(seed).standard_normal((3, len(BAND), len(BAND))), torch.device("cpu"))


def _block(coefficients: Tensor) -> Tensor:
    """The block of these coefficients, scaled so that its largest value is 1: [3, 16, 16]."""
    along = as_tensor(waves(BAND, BLOCK), coefficients.device)
    block = along.T @ coefficients @ along
    return block / block.abs().max()
