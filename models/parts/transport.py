"""The loss of DM-Count: the error of the count, the optimal transport of the density to the heads, and their distance.

Wang, Liu, Samaras, Hoai, Distribution Matching for Crowd Counting, NeurIPS 2020, arXiv 2009.13077.
K = exp(-squared distance / REG) is a factor along y times one along x, so a Sinkhorn step is two batched matrix
products and no matrix of heads x blocks is made. The host never waits for the device.
"""

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from benchmark.data.density import dot_maps

REG = 10.0  # weight of the entropy, square pixels
STEPS, CHECK_EVERY = 100, 10
TOLERANCE = 1e-9  # an image stops once the squared error of its blocks' marginal is this small
EPS = 1e-8
TINY = 1e-16  # K is 0 between a block and heads far away; with this u and v stay finite all the same
FAR = 800.0  # square pixels: beyond, K adds less than TINY / 500; a CPU would be slowed by the denormal floats


def distribution_matching(density: Tensor, points: list[Tensor], stride: int, ot_weight: float = 0.1,
                          tv_weight: float = 0.01) -> Tensor:
    """Loss of each image: |count - N| + ot_weight OT + tv_weight N TV, for N heads.

    density: [B, 1, h, w] people per block of stride x stride pixels, not negative, of any dtype. points: per image
    [N, 2] as (x, y) pixels. OT: see `transport`. TV: sum of |density / count - heads in the block / N|.
    Returns float32 [B].

    The weights are those of the paper. The public codes sum OT over a batch but average the rest, so there its weight
    grows with the batch: ot_weight=0.8 is what CLIP-EBC's does at its batch of 8.
    """
    density = density.float()
    dots = dot_maps(points, (density.shape[2] * stride, density.shape[3] * stride), stride)
    count, heads = (maps.sum(dim=(1, 2, 3), keepdim=True) for maps in (density, dots))
    distance = (density / (count + EPS) - dots / (heads + EPS)).abs().sum(dim=(1, 2, 3))
    count, heads = count.flatten(), heads.flatten()
    return (count - heads).abs() + ot_weight * transport(density, points, stride) + tv_weight * heads * distance


def transport(density: Tensor, points: list[Tensor], stride: int) -> Tensor:
    """A term with the gradient of the transport cost; its value is 0 up to rounding.

    Arguments as for `distribution_matching`. Returns float32 [B]: <density, g>, where g = beta / count -
    <density, beta> / count^2 has no gradient of its own; see `potential` for beta. It is 0 without heads.
    """
    density = density.float()
    fixed = density.detach()
    count = fixed.sum(dim=(1, 2, 3), keepdim=True)
    beta = potential(fixed / (count + EPS), points, stride)
    gradient = (beta * count - (fixed * beta).sum(dim=(1, 2, 3), keepdim=True)) / (count.square() + EPS)
    return (density * gradient).sum(dim=(1, 2, 3))


def potential(shares: Tensor, points: list[Tensor], stride: int) -> Tensor:
    """Potential beta = REG log v of the blocks in the entropic transport to heads of equal weight, by Sinkhorn.

    shares: float32 [B, 1, h, w], summing to 1; other arguments as for `distribution_matching`. Returns float32
    [B, 1, h, w], square pixels; 0 for an image without heads.
    """
    xy = pad_sequence(points, batch_first=True).float()  # [B, N, 2]
    present = pad_sequence([torch.ones_like(heads[:, :1]) for heads in points], batch_first=True).float()  # [B, N, 1]
    heads = present.sum(dim=1, keepdim=True)
    rows, columns = _kernel(xy[..., 1:], shares.shape[2], stride), _kernel(xy[..., :1], shares.shape[3], stride)
    with torch.autocast(shares.device.type, enabled=False):
        v = _sinkhorn(present / heads.clamp(min=1), shares[:, 0], rows, columns)
    return (REG * (v + TINY).log() * heads.clamp(max=1))[:, None]


def _kernel(centre: Tensor, blocks: int, stride: int) -> Tensor:
    """exp(-squared distance / REG) of heads to the blocks' centres along an axis: [B, N, 1] -> [B, N, blocks]."""
    cost = (centre - (torch.arange(blocks, device=centre.device) + 0.5) * stride).square()
    return torch.exp(cost / -REG) * (cost < FAR)


def _sinkhorn(a: Tensor, b: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """v such that u K v has the marginals a [B, N, 1] and b [B, h, w]; K[n, i, j] = rows[n, i] columns[n, j].

    Padding has a = 0, hence u = 0. An image within TOLERANCE keeps its u and v; the loop goes on, since to know whether
    all do the host would have to wait.
    """
    u, v, going = a, b, torch.ones_like(b[:, :1, :1], dtype=torch.bool)
    a, b, columns = a / TINY, b / TINY, columns / TINY  # x / (y + TINY) in units of TINY, clear of denormal floats
    for _ in range(STEPS // CHECK_EVERY):
        new_u, new_v = u, v
        for _ in range(CHECK_EVERY):
            new_v = b / ((rows * new_u).mT @ columns + 1)
            new_u = a / ((rows @ new_v * columns).sum(dim=2, keepdim=True) + 1)
        u, v = torch.where(going, new_u, u), torch.where(going, new_v, v)
        error = (b - v * ((rows * u).mT @ columns)).square().sum(dim=(1, 2), keepdim=True)
        going = going & (error > TOLERANCE / TINY**2)
    return v
