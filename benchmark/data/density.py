"""Density maps straight at a counter's stride, by the exact integral of each head's Gaussian over the blocks.

The integral of a 2-D Gaussian over a block is a product of two 1-D differences of erf, so a map is one matrix
product Rows^T Cols over the heads and no full-size map is ever made. What would fall outside the image is put
back by scaling each head's mass to 1, so a map's sum is the number of heads.
"""

import math

import numpy as np
import torch
from scipy.spatial import KDTree
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence


def adaptive_sigmas(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Geometry-adaptive widths: 0.3 x the mean distance to the 3 nearest heads (Zhang et al., CVPR 2016, eq. 3).

    points: [N, 2] as (x, y) pixels; size: (H, W). Returns float32 [N], pixels, at least 1.
    With fewer than 4 heads the neighbours there are serve; a single head gets (H + W) / 8, as in CSRNet's code.
    """
    if len(points) < 2:
        return np.full(len(points), sum(size) / 8, np.float32)
    neighbours = min(3, len(points) - 1)
    distances, _ = KDTree(points).query(points, k=neighbours + 1)  # the nearest is the head itself
    return np.maximum(0.3 * distances[:, 1:].mean(axis=1), 1).astype(np.float32)


def density_maps(points: list[Tensor], sigmas: list[Tensor], size: tuple[int, int], stride: int) -> Tensor:
    """Density maps of a batch of images of one size.

    points: per image [N, 2] as (x, y) pixels inside the image; sigmas: per image [N] pixels; size: (H, W) pixels.
    Returns float32 [B, 1, ceil(H / stride), ceil(W / stride)] in people per block; each sums to N within 1e-4.
    """
    xy = pad_sequence(points, batch_first=True).double()  # [B, N, 2]
    sigma = pad_sequence(sigmas, batch_first=True, padding_value=1.0).double()
    present = pad_sequence([torch.ones_like(s) for s in sigmas], batch_first=True).double()
    rows = _block_mass(xy[..., 1], sigma, size[0], stride) * present[..., None]
    columns = _block_mass(xy[..., 0], sigma, size[1], stride)
    return (rows.transpose(1, 2) @ columns)[:, None].float()


def dot_maps(points: list[Tensor], size: tuple[int, int], stride: int) -> Tensor:
    """Heads per block, exact: what classifies blocks is trained on these, not on Gaussians.

    points: per image [N, 2] as (x, y) pixels; one on or beyond a border, as a flip puts it, counts in the last block.
    size: (H, W) pixels. Returns float32 [B, 1, ceil(H / stride), ceil(W / stride)].
    """
    height, width = (math.ceil(side / stride) for side in size)
    maps = torch.zeros(len(points), height * width, device=points[0].device)
    for blocks, heads in zip(maps, points):
        column, row = (heads / stride).long().clamp(min=0).unbind(dim=1)
        index = row.clamp(max=height - 1) * width + column.clamp(max=width - 1)
        blocks.scatter_add_(0, index, torch.ones_like(heads[:, 0]))
    return maps.view(-1, 1, height, width)


def _block_mass(centre: Tensor, sigma: Tensor, length: int, stride: int) -> Tensor:
    """Share of a 1-D Gaussian in each block of an axis of `length` pixels: [B, N] -> [B, N, ceil(length / stride)]."""
    edges = torch.arange(math.ceil(length / stride) + 1, device=centre.device, dtype=centre.dtype) * stride
    cumulative = torch.special.ndtr((edges.clamp(max=length) - centre[..., None]) / sigma[..., None])
    mass = cumulative.diff(dim=-1)
    return mass / mass.sum(dim=-1, keepdim=True)
