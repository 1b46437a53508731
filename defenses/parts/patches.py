"""Patches: parts of images laid over other images, and the same parts of their density maps."""

import torch
from torch import Tensor


def patched(images: Tensor, maps: Tensor, stride: int, most: int) -> tuple[Tensor, Tensor]:
    """Images [B, 3, H, W] and their maps [B, 1, h, w], each covered in part by patches of others.

    A patch is a rectangle of any size, from any place of any image of the batch, and goes to any
    place. It is cut along the blocks of the map, so that each block keeps what its pixels show.

    stride: side in pixels of the square that one block covers. A strip at the right or the bottom
        that is narrower than a block is left as it is.
    most: largest number of patches of an image; from 0 to as many are equally likely.
    """
    rows, columns = images.shape[-2] // stride, images.shape[-1] // stride
    covered_images, covered_maps = images.clone(), maps.clone()
    if rows and columns:
        for target in range(len(images)):
            for _ in range(_draw(most + 1)):
                source, height, width = _draw(len(images)), 1 + _draw(rows), 1 + _draw(columns)
                here = _rectangle(rows, columns, height, width)
                there = _rectangle(rows, columns, height, width)
                _paste(covered_maps[target], here, maps[source], there, 1)
                _paste(covered_images[target], here, images[source], there, stride)
    return covered_images, covered_maps


def _draw(number: int) -> int:
    """A random number from 0 to number - 1."""
    return int(torch.randint(number, ()))


def _rectangle(rows: int, columns: int, height: int, width: int) -> tuple[slice, slice]:
    """A rectangle at a random place, in blocks."""
    top, left = _draw(rows - height + 1), _draw(columns - width + 1)
    return slice(top, top + height), slice(left, left + width)


def _paste(target: Tensor, here: tuple[slice, slice], source: Tensor, there: tuple[slice, slice],
           scale: int) -> None:
    """Copy a rectangle of [C, H, W] to another place, in place. scale: pixels per block."""
    (y, x), (v, u) = ([slice(side.start * scale, side.stop * scale) for side in rectangle]
                      for rectangle in (here, there))
    target[:, y, x] = source[:, v, u]
