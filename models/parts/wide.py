"""A 3x3 convolution of very many channels, faster on a CPU. Elsewhere, and for inference, torch's own is used.

In float32 it is Winograd's: 16 matrix products give 2 x 2 outputs of 36 multiplications each.  Lavin and Gray,
Fast Algorithms for Convolutional Neural Networks, CVPR 2016, section 4. In bfloat16, too coarse for that, the weight's
gradient is nine matrix products, one a tap, which oneDNN takes two to four times as long for at 2048 channels.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional as F


class WideConv3x3(nn.Conv2d):
    """A 3x3 convolution with padding 1 and no bias, the same function and state dict as torch's."""

    def __init__(self, channels: int):
        super().__init__(channels, channels, 3, padding=1, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        if images.device.type != "cpu" or not (torch.is_grad_enabled() and self.weight.requires_grad):
            return super().forward(images)
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else images.dtype
        if dtype == torch.float32:
            return winograd(images, self.weight)
        return _Convolution.apply(images.to(dtype), self.weight.to(dtype))


def winograd(images: Tensor, weight: Tensor) -> Tensor:
    """The convolution of images [B, C, H, W] with weight [O, C, 3, 3] and padding 1, by F(2 x 2, 3 x 3)."""
    height, width = images.shape[-2:]
    rows, columns = -(-height // 2), -(-width // 2)  # of tiles: 4 x 4 pixels in, 2 x 2 out
    pixels = F.pad(images, (1, 1 + width % 2, 1, 1 + height % 2)).permute(0, 2, 3, 1)
    tiles = [[pixels[:, i : i + 2 * rows - 1 : 2, j : j + 2 * columns - 1 : 2] for j in range(4)] for i in range(4)]
    tiles = _along_both(tiles, lambda a, b, c, d: (a - c, b + c, c - b, b - d))
    taps = [[weight[:, :, i, j].mT for j in range(3)] for i in range(3)]
    taps = _along_both(taps, lambda a, b, c: (a, (a + b + c) / 2, (a - b + c) / 2, c))
    products = [[tile.reshape(-1, tile.shape[-1]) @ tap for tile, tap in zip(*both)] for both in zip(tiles, taps)]
    (a, b), (c, d) = _along_both(products, lambda a, b, c, d: (a + b + c, b - c - d))
    out = torch.stack([a, b, c, d]).view(2, 2, len(images), rows, columns, -1).permute(2, 5, 3, 0, 4, 1)
    return out.reshape(len(images), -1, 2 * rows, 2 * columns)[..., :height, :width]


def _along_both(grid: list[list[Tensor]], transform: Callable[..., tuple[Tensor, ...]]) -> list[list[Tensor]]:
    """Transform the rows of a grid of tensors, and then its columns."""
    half = [transform(*row) for row in grid]
    return [list(row) for row in zip(*(transform(*column) for column in zip(*half)))]


class _Convolution(Function):
    """torch's convolution but for the gradient of the weight."""

    @staticmethod
    def forward(ctx, images: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(images, weight)
        return F.conv2d(images, weight, padding=1)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor]:
        images, weight = ctx.saved_tensors
        backwards = torch.nn.grad.conv2d_input(images.shape, weight, gradient, padding=1)
        return backwards, _weight_gradient(images, gradient)


def _weight_gradient(images: Tensor, gradient: Tensor) -> Tensor:
    """Padded and flat, pixels [B (H + 2) (W + 2), C], a tap is an offset: its weights' gradient is one product."""
    width = images.shape[-1] + 2
    before, after = (F.pad(x, (1, 1, 1, 1)).permute(0, 2, 3, 1).reshape(-1, x.shape[1]) for x in (images, gradient))
    reach = width + 1  # pixels from the centre to the last tap; the padding of `gradient` is 0, so rows may run on
    inner = after[reach : len(after) - reach].mT
    taps = [inner @ before[reach + shift : len(before) - reach + shift]
            for shift in (row * width + column for row in (-1, 0, 1) for column in (-1, 0, 1))]
    return torch.stack(taps, dim=-1).unflatten(-1, (3, 3))
