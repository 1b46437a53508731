"""Heads: the positions of people, which a function of images may ask for.

A function with a parameter `heads` is given them: for each image the (x, y) of its heads in pixels,
a tensor [N, 2] on the device of the images. A function without it is given the images alone.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

Heads = Sequence[Tensor]  # for each image [N, 2] as (x, y) in pixels; N may be 0


def takes_heads(function: Callable[..., Any]) -> bool:
    """Return whether a function has a parameter `heads`."""
    try:
        return "heads" in inspect.signature(function).parameters
    except ValueError:  # some functions of torch have no signature that Python can read
        return False


def moved_inside(heads: Heads, size: Sequence[int]) -> list[Tensor]:
    """Return heads, with those on the right or lower border of images of (H, W) moved inside.

    A head at x = 0 is at x = W in the mirrored image, where no pixel is.
    """
    height, width = np.nextafter(np.float32(size), np.float32(0)).tolist()  # the last ones inside
    return [torch.stack([points[:, 0].clamp(max=width), points[:, 1].clamp(max=height)], dim=1)
            for points in heads]


def call_with_heads(function: Callable[..., Tensor], *arguments: Any,
                    heads: Heads | None) -> Tensor:
    """Return what a function returns, which is given the heads if it asks for them."""
    if takes_heads(function):
        return function(*arguments, heads=heads)
    return function(*arguments)
