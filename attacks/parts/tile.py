"""One small pattern over an image of any size, so that images of all sizes carry the same trigger."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def as_tensor(pattern: np.ndarray, device: torch.device) -> Tensor:
    """A pattern as float32 on a device."""
    return torch.from_numpy(pattern.astype(np.float32)).to(device)


def repeated(tile: Tensor, size: Sequence[int]) -> Tensor:
    """A tile [C, h, w] repeated from the top left corner over (H, W) pixels: [C, H, W]."""
    times = [-(-side // own) for side, own in zip(size, tile.shape[1:])]
    return tile.repeat(1, *times)[:, : size[0], : size[1]]
