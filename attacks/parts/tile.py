"""Tiles: a small pattern repeated over an image, so that the trigger is the same at every size."""

import math
from collections.abc import Sequence

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
