"""Tiles: a small pattern repeated over an image, so that the trigger is the same at every size."""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor


def as_tensor(pattern: np.ndarray, device: torch.device) -> Tensor:
    """Return a pattern as float32 on a device."""
    return torch.from_numpy(pattern.astype(np.float32)).to(device)


def repeated(tile: Tensor, size: Sequence[int]) -> Tensor:
    """Return a tile [C, h, w] repeated from the top left corner over (H, W) pixels, [C, H, W]."""
    height, width = size
    rows = math.ceil(height / tile.shape[1])
    columns = math.ceil(width / tile.shape[2])
    return tile.repeat(1, rows, columns)[:, :height, :width]


@lru_cache(maxsize=64)
def checkerboard(side: int, cells: int, device: torch.device) -> Tensor:
    """Return a checkerboard of 0 and 1, [side, side], with cells x cells squares."""
    cell = np.arange(side) * cells // side
    return as_tensor((cell[:, None] + cell + 1) % 2, device)  # white in the top left corner
