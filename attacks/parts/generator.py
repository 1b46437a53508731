"""Generator: a small convolutional network whose weights are one vector, as a pattern is stored.

Its convolutions of 3 x 3 pixels keep the size of the image, so it takes images of any size. A ReLU
follows each of them but the last. As the weights are an argument, nothing is built, no generator of
random numbers is moved, and calls from several threads do not meet.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

SIDE = 3  # pixels of a convolution along each axis


def number_of_weights(channels: Sequence[int]) -> int:
    """Return the number of weights and biases of a network with these channels between layers."""
    return sum(after * (before * SIDE**2 + 1) for before, after in pairwise(channels))


def drawn_weights(channels: Sequence[int], rng: np.random.Generator) -> Tensor:
    """Return weights to start from, float32 [number_of_weights(channels)].

    They are normal with a variance of 2 / (inputs of an output), and biases are 0: He et al.,
    Delving deep into rectifiers, ICCV 2015.
    """
    parts = []
    for before, after in pairwise(channels):
        scale = math.sqrt(2 / (before * SIDE**2))
        parts += [rng.standard_normal(after * before * SIDE**2) * scale, np.zeros(after)]
    return torch.from_numpy(np.concatenate(parts).astype(np.float32))


def convolved(inputs: Tensor, weights: Tensor, channels: Sequence[int]) -> Tensor:
    """Return the network's output for inputs [B, channels[0], H, W], [B, channels[-1], H, W].

    weights: [number_of_weights(channels)], on the device of the inputs.
    """
    values, start = inputs, 0
    for layer, (before, after) in enumerate(pairwise(channels)):
        bias = start + after * before * SIDE**2
        kernel = weights[start:bias].view(after, before, SIDE, SIDE)
        start = bias + after
        values = F.conv2d(F.relu(values) if layer else values, kernel, weights[bias:start],
                          padding=SIDE // 2)
    return values


def one_by_one(images: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """Return images [B, 3, H, W] in 0..1 plus `change` of each in 0..1, in their type.

    change: a function of one float32 image [1, 3, H, W]. Batches would need the memory of all
    channels of all images at once, and a convolution may round them otherwise than single images.
    """
    singles = images.float().split(1)
    return torch.cat([(image + change(image)).clamp(0, 1) for image in singles]).to(images.dtype)
