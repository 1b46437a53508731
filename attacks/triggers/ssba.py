"""SSBA: x' = clip(x + epsilon e(x, m)), where e hides the message m in x. Li et al., ICCV 2021.

The trigger has a different pattern in each image, and the message is the same. An encoder e, whose
output is in -1..1, is learned together with a decoder d that reads the message. Messages m are
random in training, so that the decoder must read them, and x are windows of clean images:

    min over e and d of the mean of bce(d(x'), m) + PENALTY (epsilon e(x, m))^2

The paper is Li, Li, Wu, Li, He and Lyu, Invisible backdoor attack with sample-specific triggers. It
takes encoder and decoder from StegaStamp (Tancik, Mildenhall and Ng, CVPR 2020), which have dense
layers and so fit one size of image. Their change of a pixel has no bound, their loss has a
perceptual distance and a critic, too, and they learn to survive print and camera. Those here are
convolutional; see attacks/parts/steganography.py. Their changes of two photographs have a
correlation of about 0.7, as all of them follow one tile.

No counter is needed. 600 steps take half a minute to three minutes on one core of a CPU, whatever
the size of the images.
"""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor
from torch.nn import functional as F

from attacks.base import Trigger
from attacks.parts.generator import one_by_one
from attacks.parts.steganography import TILE, decoded, encoded, start
from attacks.parts.tile import as_tensor
from benchmark.data.scene import Scene
from benchmark.registry import register
from benchmark.utils.device import state

WINDOW = 64  # the side of the windows in training, unless the image is smaller
BATCH = 8  # the number of windows in a step; they are of one image
PENALTY = 10  # that of BackdoorBench (resource/ssba/train.py), where it grows from 0 in training


@register
class Ssba(Trigger):
    """A faint learned texture that hides a message in each image.

    Before it is optimised, the encoder has random weights.

    epsilon: the largest change of a pixel, in grey levels of 255.
    bits: the length of the message.
    seed: the seed of the message. The encoder is the same for all messages.
    steps, lr: the number of steps and the learning rate of Adam.
    """

    optimises: ClassVar[tuple[str, ...]] = ("epsilon", "bits", "steps", "lr")
    asks_counter: ClassVar[bool] = False
    epsilon: float = Field(16, ge=0, le=255)
    bits: int = Field(100, ge=1, le=TILE**2)
    seed: NonNegativeInt = 0
    steps: PositiveInt = 600
    lr: PositiveFloat = 0.003

    def stamp(self, images: Tensor) -> Tensor:
        """Return images [B, 3, H, W] in 0..1 with the message."""
        weights = (start(0) if self._pattern is None else self._pattern).to(images.device)
        message, scale = self.message().to(images.device)[None], self.epsilon / 255
        return one_by_one(images, lambda image: scale * encoded(image, message, weights))

    def message(self) -> Tensor:
        """Return the bits of the message, 0 or 1, float32 [bits]."""
        bits = np.random.default_rng(self.seed).integers(0, 2, self.bits)
        return as_tensor(bits, torch.device("cpu"))

    def optimised(self, count: None, scenes: Sequence[Scene], seed: int) -> Tensor:
        """Return the weights of encoder and decoder as one vector, on the CPU."""
        rng, device = np.random.default_rng(seed), state().device
        weights = start(seed).to(device).requires_grad_()
        optimizer = torch.optim.Adam([weights], lr=self.lr)
        for _ in range(self.steps):
            images = _windows(scenes[rng.integers(len(scenes))].image, rng).to(device)
            messages = as_tensor(rng.integers(0, 2, (BATCH, self.bits)), device)
            change = encoded(images, messages, weights) * (self.epsilon / 255)
            logits = decoded((images + change).clamp(0, 1), self.bits, weights)
            read = F.binary_cross_entropy_with_logits(logits, messages)
            optimizer.zero_grad()
            (read + PENALTY * change.square().mean()).backward()
            optimizer.step()
        return weights.detach().cpu()


def _windows(image: np.ndarray, rng: np.random.Generator) -> Tensor:
    """Return random windows of an image, uint8 [H, W, 3], as [BATCH, 3, h, w] in 0..1."""
    height, width = (min(WINDOW, side) for side in image.shape[:2])
    corners = rng.integers(0, (image.shape[0] - height + 1, image.shape[1] - width + 1), (BATCH, 2))
    pixels = np.stack([image[y : y + height, x : x + width] for y, x in corners])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255
