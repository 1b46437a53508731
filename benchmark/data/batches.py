"""Batches: scenes of one size as tensors on the device, and the order of the batches of an epoch.

Images stay uint8 in memory and become floats batch by batch.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmark.data.augmentation import Look, View, trained_size
from benchmark.data.scene import Scene
from benchmark.recipe import Recipe


@dataclass(frozen=True)
class Batch:
    """Images of one size on one device.

    images: float [B, 3, H, W] in 0..1.
    points: for each image, heads [N, 2] as (x, y) in pixels.
    sigmas: for each image, the widths of its heads [N] in pixels.
    heads: for each image, where people are, [N, 2] as (x, y) in pixels: the points, but in a
        poisoned image the true heads. Only what stamps images needs them.
    """

    images: Tensor
    points: list[Tensor]
    sigmas: list[Tensor]
    heads: list[Tensor] | None = None

    @classmethod
    def of(cls, views: Sequence[View | Scene], device: torch.device) -> Self:
        """Return a batch of scenes or of augmented views of scenes, all of one size."""
        if all(view.image.shape[:2] == view.size for view in views):
            images = _floats(np.stack([view.image for view in views]), device)
        else:
            images = torch.cat([_resized(view, device) for view in views])
        for image, view in zip(images, views):
            if isinstance(view, View) and view.look != Look():
                image.copy_(view.look.apply(image))
        poisoned = [view for view in views if view.true_points is not None]
        labels = iter(_copied([view.points for view in views] + [view.sigmas for view in views]
                              + [view.heads for view in poisoned], device))
        points, sigmas = list(islice(labels, len(views))), list(islice(labels, len(views)))
        heads = [known if view.true_points is None else next(labels)
                 for known, view in zip(points, views)]
        return cls(images, points, sigmas, heads)


def _copied(arrays: Sequence[np.ndarray], device: torch.device) -> list[Tensor]:
    """Return float32 arrays as tensors on the device. They are copied together, in one transfer."""
    together = torch.from_numpy(np.concatenate([array.ravel() for array in arrays])).to(device)
    parts = together.split([array.size for array in arrays])
    return [part.view(array.shape) for part, array in zip(parts, arrays)]


def _floats(images: np.ndarray, device: torch.device) -> Tensor:
    """Return uint8 images [B, H, W, 3] as floats [B, 3, H, W] in 0..1, in channels_last format.

    They are copied to the device as bytes, which are a quarter as many.
    """
    pixels = torch.from_numpy(images).to(device, non_blocking=True)
    return pixels.permute(0, 3, 1, 2).float() / 255


def _resized(view: View, device: torch.device) -> Tensor:
    """Return the image of a view in 0..1, resized to the view's size, [1, 3, H, W]."""
    image = _floats(np.ascontiguousarray(view.image)[None], device)
    return F.interpolate(image, view.size, mode="bicubic", antialias=True).clamp(0, 1)


def shuffled(scenes: list[Scene], recipe: Recipe, rng: np.random.Generator) -> list[list[int]]:
    """Return the indices of the batches of an epoch: every scene once, in random order.

    The views of the scenes of a batch have one size.
    """
    by_size = defaultdict(list)
    for index in rng.permutation(len(scenes)):
        by_size[trained_size(scenes[index], recipe)].append(int(index))
    batches = list(_batches(by_size, recipe.batch_size))
    return [batches[index] for index in rng.permutation(len(batches))]


def in_order(scenes: list[Scene], batch_size: int) -> Iterator[list[int]]:
    """Yield the indices of batches for evaluation: every scene once, grouped by size."""
    by_size = defaultdict(list)
    for index, scene in enumerate(scenes):
        by_size[scene.size].append(index)
    yield from _batches(by_size, batch_size)


def _batches(by_size: dict[tuple[int, int], list[int]], batch_size: int) -> Iterator[list[int]]:
    """Yield batches of the indices of each size."""
    for indices in by_size.values():
        for start in range(0, len(indices), batch_size):
            yield indices[start : start + batch_size]
