"""The loss of DM-Count: error of the count, optimal transport to the heads, and total variation.

Wang, Liu, Samaras, Hoai, Distribution Matching for Crowd Counting, NeurIPS 2020, arXiv 2009.13077.
The kernel K = exp(-squared distance / REG) is a factor along y times a factor along x. A Sinkhorn
step is therefore two batched matrix products, and no matrix of heads x blocks is made. The host
never waits for the device, and where a training is compiled, ten steps are one graph.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from benchmark.data.density import dot_maps, padded
from benchmark.utils.compilation import compilable

REG = 10.0  # weight of the entropy, in square pixels
STEPS = 100  # Sinkhorn steps
CHECK_EVERY = 10  # steps between two checks of the error
TOLERANCE = 1e-9  # an image stops when the squared error of its blocks' marginal is at most this
EPS = 1e-8
TINY = 1e-16  # keeps u and v finite: K is 0 between a block and heads that are far away
# Squared distance in pixels beyond which K is taken as 0. It would add less than TINY / 500 there,
# as denormal floats, which slow a CPU down.
FAR = 800.0


def distribution_matching(density: Tensor, points: list[Tensor], stride: int,
                          ot_weight: float = 0.1, tv_weight: float = 0.01,
                          dots: Tensor | None = None) -> Tensor:
    """The loss of each image with N heads, [B]: |count - N| + ot_weight OT + tv_weight N TV.

    density: people per block of stride x stride pixels, [B, 1, h, w], not negative, of any dtype.
    points: the heads of each image, [N, 2] as (x, y) in pixels.
    dots: their `dot_maps` [B, 1, h, w], where the caller has them.
    Returns float32.

    OT is explained in `transport`. TV is the sum of |density / count - heads in the block / N|.

    The weights are those of the paper. The public codes sum OT over a batch and average the rest,
    so that the weight of OT grows with the batch: ot_weight=0.8 is that of the public CLIP-EBC at
    its batch of 8.
    """
    density = density.float()
    if dots is None:
        dots = dot_maps(points, (density.shape[2] * stride, density.shape[3] * stride), stride)
    count = density.sum(dim=(1, 2, 3), keepdim=True)
    heads = dots.sum(dim=(1, 2, 3), keepdim=True)
    shares, head_shares = density / (count + EPS), dots / (heads + EPS)
    variation = (shares - head_shares).abs().sum(dim=(1, 2, 3))
    count, heads = count.flatten(), heads.flatten()
    transported = transport(density, points, stride)
    return (count - heads).abs() + ot_weight * transported + tv_weight * heads * variation


def transport(density: Tensor, points: list[Tensor], stride: int) -> Tensor:
    """A term of each image with the gradient of the transport cost, float32 [B].

    Its value is 0 up to rounding; without heads its gradient is 0 too. It is <density, g>, where
    g = beta / count - <density, beta> / count^2 is taken as a constant. See `potential` for beta,
    and `distribution_matching` for the arguments.
    """
    density = density.float()
    fixed = density.detach()
    count = fixed.sum(dim=(1, 2, 3), keepdim=True)
    beta = potential(fixed / (count + EPS), points, stride)
    product = (fixed * beta).sum(dim=(1, 2, 3), keepdim=True)
    gradient = (beta * count - product) / (count.square() + EPS)
    return (density * gradient).sum(dim=(1, 2, 3))


def potential(shares: Tensor, points: list[Tensor], stride: int) -> Tensor:
    """The potential beta = REG log v of the blocks, in square pixels, float32 [B, 1, h, w].

    It is that of the entropic transport from the blocks to heads of equal weight, by Sinkhorn
    steps; 0 for an image without heads.

    shares: density divided by its sum, float32 [B, 1, h, w]. See `distribution_matching` for the
        other arguments.
    """
    xy, is_head = padded(points)
    xy, present = xy.float(), is_head[..., None].float()  # 0 where it is padding
    heads = present.sum(dim=1, keepdim=True)
    rows = _kernel(xy[..., 1:], shares.shape[2], stride)
    columns = _kernel(xy[..., :1], shares.shape[3], stride)
    with torch.autocast(shares.device.type, enabled=False):
        v = _sinkhorn(present / heads.clamp(min=1), shares[:, 0], rows, columns)
    return (REG * (v + TINY).log() * heads.clamp(max=1))[:, None]


def _kernel(head: Tensor, blocks: int, stride: int) -> Tensor:
    """exp(-squared distance / REG) along one axis, from heads [B, N, 1] to blocks: [B, N, blocks].

    head: the coordinate of each head in pixels. Distances are to the centres of the blocks.
    """
    centres = (torch.arange(blocks, device=head.device) + 0.5) * stride
    cost = (head - centres).square()
    return torch.exp(cost / -REG) * (cost < FAR)


class _Plan(NamedTuple):
    """The constants of all Sinkhorn steps.

    Quotients x / (y + TINY) are computed in units of TINY, which avoids denormal floats: a, b and
    columns are divided by it.
    one: the 1 of a quotient, [1, 1, 1]. share: it divided by the number of columns.
    """

    a: Tensor
    b: Tensor
    rows: Tensor
    columns: Tensor
    one: Tensor
    share: Tensor


def _sinkhorn(a: Tensor, b: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """v such that u K v has the marginals a [B, N, 1] and b [B, h, w].

    rows, columns: the factors of K along y and x; K[n, i, j] = rows[n, i] columns[n, j].
    Padding has a = 0 and hence u = 0. An image within TOLERANCE keeps its u and v, but the loop
    goes on: the host would have to wait for the device to know whether all images are done.
    """
    one = torch.ones_like(b[:1, :1, :1])
    plan = _Plan(a / TINY, b / TINY, rows, columns / TINY, one, one / b.shape[2])
    u, v, going = a, b, torch.ones_like(b[:, :1, :1], dtype=torch.bool)
    for _ in range(STEPS // CHECK_EVERY):
        u, v, going = _steps(plan, u, v, going)
    return v


@compilable  # and not the whole loop: torch would unroll it and compile it for minutes
def _steps(plan: _Plan, u: Tensor, v: Tensor, going: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """CHECK_EVERY steps from u and v, and which images go on after them.

    Each operation is a launch on a GPU, so that the 1 of a quotient is added within the product
    there or, in shares, within the sum. A CPU rounds as it always did.
    """
    rows, columns, on_cpu = plan.rows, plan.columns, u.device.type == "cpu"
    new_u, new_v = u, v
    for _ in range(CHECK_EVERY):
        weighted = (rows * new_u).mT
        if on_cpu:
            new_v = plan.b / (weighted @ columns + 1)
            new_u = plan.a / ((rows @ new_v * columns).sum(dim=2, keepdim=True) + 1)
        else:
            new_v = plan.b / torch.baddbmm(plan.one, weighted, columns)
            products = torch.addcmul(plan.share, rows @ new_v, columns)
            new_u = plan.a / products.sum(dim=2, keepdim=True)
    u, v = torch.where(going, new_u, u), torch.where(going, new_v, v)
    error = (plan.b - v * ((rows * u).mT @ columns)).square()
    going = going & (error.sum(dim=(1, 2), keepdim=True) > TOLERANCE / TINY**2)
    return u, v, going
