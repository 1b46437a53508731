"""A 3x3 convolution of very many channels that trains faster on a CPU than that of torch.

On other devices, and for inference, the convolution of torch is used. In float32 it is Winograd's
algorithm: 16 matrix products give 2 x 2 outputs, which take 36 multiplications otherwise.  Lavin
and Gray, Fast Algorithms for Convolutional Neural Networks, CVPR 2016, section 4. In bfloat16,
which is too coarse for that, the gradient of the weight is nine matrix products, one per tap;
oneDNN takes two to four times as long for it at 2048 channels.
"""

import math
from collections.abc import Callable
from itertools import product

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional as F


class WideConv3x3(nn.Conv2d):
    """A 3x3 convolution with padding 1 and no bias: the function and the state dict of torch's."""

    def __init__(self, channels: int):
        super().__init__(channels, channels, 3, padding=1, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        trains = torch.is_grad_enabled() and self.weight.requires_grad
        if images.device.type != "cpu" or not trains:
            return super().forward(images)
        autocast = torch.is_autocast_enabled("cpu")
        dtype = torch.get_autocast_dtype("cpu") if autocast else images.dtype
        if dtype == torch.float32:
            return winograd(images, self.weight)
        return _Convolution.apply(images.to(dtype), self.weight.to(dtype))


def winograd(images: Tensor, weight: Tensor) -> Tensor:
    """The convolution of images [B, C, H, W] with weight [O, C, 3, 3] and padding 1.

    It is F(2 x 2, 3 x 3) of the paper: a tile of 4 x 4 pixels gives 2 x 2 outputs.
    """
    height, width = images.shape[-2:]
    rows, columns = math.ceil(height / 2), math.ceil(width / 2)  # of tiles
    pixels = F.pad(images, (1, 1 + width % 2, 1, 1 + height % 2)).permute(0, 2, 3, 1)
    row_slices = [slice(first, first + 2 * rows - 1, 2) for first in range(4)]
    column_slices = [slice(first, first + 2 * columns - 1, 2) for first in range(4)]
    tiles = [[pixels[:, row, column] for column in column_slices] for row in row_slices]
    tiles = _transform_grid(tiles, lambda a, b, c, d: (a - c, b + c, c - b, b - d))
    taps = [[weight[:, :, row, column].mT for column in range(3)] for row in range(3)]
    taps = _transform_grid(taps, lambda a, b, c: (a, (a + b + c) / 2, (a - b + c) / 2, c))
    products = []
    for tile_row, tap_row in zip(tiles, taps):
        products.append([tile.flatten(0, 2) @ tap for tile, tap in zip(tile_row, tap_row)])
    outputs = _transform_grid(products, lambda a, b, c, d: (a + b + c, b - c - d))
    out = torch.stack([*outputs[0], *outputs[1]]).view(2, 2, len(images), rows, columns, -1)
    out = out.permute(2, 5, 3, 0, 4, 1)
    return out.reshape(len(images), -1, 2 * rows, 2 * columns)[..., :height, :width]


def _transform_grid(grid: list[list[Tensor]],
                    transform: Callable[..., tuple[Tensor, ...]]) -> list[list[Tensor]]:
    """Transform the rows of a grid of tensors, and then its columns."""
    rows = [transform(*row) for row in grid]
    columns = [transform(*column) for column in zip(*rows)]
    return [list(row) for row in zip(*columns)]


class _Convolution(Function):
    """The convolution of torch with another computation of the weight's gradient."""

    @staticmethod
    def forward(ctx, images: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(images, weight)
        return F.conv2d(images, weight, padding=1)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor]:
        images, weight = ctx.saved_tensors
        image_gradient = torch.nn.grad.conv2d_input(images.shape, weight, gradient, padding=1)
        return image_gradient, _weight_gradient(images, gradient)


def _weight_gradient(images: Tensor, gradient: Tensor) -> Tensor:
    """The gradient of the weight, [O, C, 3, 3], from images and the gradient of the output.

    Both are padded and flattened to pixels, [B (H + 2) (W + 2), C]. A tap is then an offset of
    pixels, and the gradient of its weights is one matrix product.
    """
    width = images.shape[-1] + 2
    inputs, outputs = _padded_pixels(images), _padded_pixels(gradient)
    # Pixels from the centre to the last tap. Rows may run into the next ones, because the padding
    # of `gradient` is 0.
    reach = width + 1
    inner = outputs[reach : len(outputs) - reach].mT
    taps = []
    for row, column in product((-1, 0, 1), repeat=2):
        offset = row * width + column
        taps.append(inner @ inputs[reach + offset : len(inputs) - reach + offset])
    return torch.stack(taps, dim=-1).unflatten(-1, (3, 3))


def _padded_pixels(maps: Tensor) -> Tensor:
    """Maps [B, C, H, W] with a border of 0 as pixels [B (H + 2) (W + 2), C]."""
    return F.pad(maps, (1, 1, 1, 1)).permute(0, 2, 3, 1).reshape(-1, maps.shape[1])
