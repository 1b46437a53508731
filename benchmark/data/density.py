"""Density maps at a counter's stride: the exact integral of each head's Gaussian over the blocks.

The integral of a 2-D Gaussian over a block is a product of two 1-D differences of erf. A map is
therefore one matrix product Rows^T Cols over the heads, and no map of the full size is needed. The
mass of each head inside the image is scaled to 1, so the sum of a map is the number of heads.
"""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from benchmark.utils.compilation import compilable


def adaptive_sigmas(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return the geometry-adaptive widths of heads, float32 [N] in pixels, at least 1.

    A width is 0.3 times the mean distance to the 3 nearest heads (Zhang et al., CVPR 2016, eq. 3).
    With fewer than 4 heads, all other heads are used. A single head gets (H + W) / 8, as in the
    code of CSRNet.

    points: [N, 2] as (x, y) in pixels; size: (H, W) in pixels.
    """
    from scipy.spatial import KDTree  # most datasets need none

    if len(points) < 2:
        return np.full(len(points), sum(size) / 8, np.float32)
    neighbours = min(3, len(points) - 1)
    distances, _ = KDTree(points).query(points, k=neighbours + 1)  # the first is the head itself
    return np.maximum(0.3 * distances[:, 1:].mean(axis=1), 1).astype(np.float32)


def density_maps(points: list[Tensor], sigmas: list[Tensor], size: tuple[int, int],
                 stride: int) -> Tensor:
    """Return the density maps of a batch of images of one size, in people per block.

    They are float32 [B, 1, ceil(H / stride), ceil(W / stride)], and each sums to N within 1e-4.

    points: for each image, heads [N, 2] as (x, y) in pixels, inside the image.
    sigmas: for each image, the widths of its heads [N] in pixels.
    size: (H, W) in pixels.
    """
    xy, present = padded(points)
    sigma = pad_sequence(sigmas, batch_first=True, padding_value=1.0)
    return _density_maps(xy, present, sigma, tuple(size), stride)


@compilable
def _density_maps(xy: Tensor, present: Tensor, sigma: Tensor, size: tuple[int, int],
                  stride: int) -> Tensor:
    """The maps of `density_maps` from padded heads [B, N, 2], present [B, N] and sigma [B, N]."""
    xy, sigma = xy.double(), sigma.double()
    rows = _block_mass(xy[..., 1], sigma, size[0], stride) * present[..., None]
    columns = _block_mass(xy[..., 0], sigma, size[1], stride)
    return (rows.transpose(1, 2) @ columns)[:, None].float()


def dot_maps(points: list[Tensor], size: tuple[int, int], stride: int) -> Tensor:
    """Return the exact number of heads in each block.

    The maps are float32 [B, 1, ceil(H / stride), ceil(W / stride)]. A counter that classifies
    blocks is trained on them and not on Gaussians.

    points: for each image, heads [N, 2] as (x, y) in pixels. A head on or beyond a border, where a
        flip can place it, counts in the last block.
    size: (H, W) in pixels.
    """
    xy, present = padded(points)
    return _dot_maps(xy, present, math.ceil(size[0] / stride), math.ceil(size[1] / stride), stride)


@compilable
def _dot_maps(xy: Tensor, present: Tensor, height: int, width: int, stride: int) -> Tensor:
    """The maps of `dot_maps` with height x width blocks, from padded heads [B, N, 2]."""
    column, row = (xy / stride).long().clamp(min=0).unbind(dim=2)
    index = row.clamp(max=height - 1) * width + column.clamp(max=width - 1)
    maps = torch.zeros(len(xy), height * width, device=xy.device)
    return maps.scatter_add(1, index, present.float()).view(-1, 1, height, width)


def padded(points: list[Tensor]) -> tuple[Tensor, Tensor]:
    """The heads of all images in one tensor [B, N, 2], and where it holds a head, bool [B, N].

    N is the largest number of heads of an image. Elsewhere the coordinates are 0.
    """
    xy = pad_sequence(points, batch_first=True, padding_value=math.nan)
    present = xy[..., 0] == xy[..., 0]  # a head is a number
    return xy.nan_to_num(), present


def _block_mass(centre: Tensor, sigma: Tensor, length: int, stride: int) -> Tensor:
    """Return the share of 1-D Gaussians [B, N] in each block of an axis, [B, N, blocks].

    The axis has `length` pixels and ceil(length / stride) blocks.
    """
    blocks = math.ceil(length / stride)
    edges = torch.arange(blocks + 1, device=centre.device, dtype=centre.dtype) * stride
    distances = edges.clamp(max=length) - centre[..., None]
    mass = torch.special.ndtr(distances / sigma[..., None]).diff(dim=-1)
    return mass / mass.sum(dim=-1, keepdim=True)
