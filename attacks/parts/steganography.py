"""Steganography: a message of bits that a small network hides in an image, and another one reads.

Both are convolutional, so they accept images of any size. The message is spread over a tile of
TILE x TILE pixels: each bit adds or subtracts a carrier of its own, a random pattern orthogonal to
the others. The tile is repeated over the image from its top left corner, and the encoder sees it as
a fourth channel. The decoder averages its output over the repeats of the tile and multiplies the
average by the carriers. Encoder and decoder share one vector of weights.
"""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from attacks.parts.generator import convolved, drawn_weights, number_of_weights
from attacks.parts.tile import as_tensor, repeated

TILE = 16  # the side of the tile in pixels; a message has at most one bit for each pixel
ENCODER, DECODER = (4, 16, 16, 16, 3), (3, 16, 16, 1)  # channels between the convolutions


def start(seed: int) -> Tensor:
    """Return random weights of encoder and decoder, one vector."""
    rng = np.random.default_rng(seed)
    return torch.cat([drawn_weights(channels, rng) for channels in (ENCODER, DECODER)])


def encoded(images: Tensor, messages: Tensor, weights: Tensor) -> Tensor:
    """Return the changes in -1..1 that hide messages in images, [B, 3, H, W].

    images: [B, 3, H, W] in 0..1. messages: bits, 0 or 1, float32 [B, bits].
    weights: those that `start` returns, or learned ones, on the device of the images.
    """
    bits = messages.shape[1]
    tiles = (2 * messages - 1) @ carriers(bits, images.device) / bits**0.5
    channel = repeated(tiles.view(-1, TILE, TILE), images.shape[-2:])[:, None]
    inputs = torch.cat([4 * images - 2, channel], dim=1)
    return convolved(inputs, weights[:number_of_weights(ENCODER)], ENCODER).tanh()


def decoded(images: Tensor, bits: int, weights: Tensor) -> Tensor:
    """Return the logits of the bits that are read in images, [B, bits]; see `encoded`."""
    output = convolved(4 * images - 2, weights[number_of_weights(ENCODER):], DECODER)
    height, width = output.shape[-2:]
    whole = F.pad(output, (0, -width % TILE, 0, -height % TILE))
    parts = whole.view(len(images), -1, TILE, whole.shape[-1] // TILE, TILE)
    return parts.mean(dim=(1, 3)).flatten(1) @ carriers(bits, images.device).T


@lru_cache(maxsize=8)
def carriers(bits: int, device: torch.device) -> Tensor:
    """Return orthogonal patterns with a mean square of 1, one for each bit, [bits, TILE * TILE]."""
    noise = np.random.default_rng(0).standard_normal((TILE**2, bits))
    return as_tensor(np.linalg.qr(noise).Q.T * TILE, device)
