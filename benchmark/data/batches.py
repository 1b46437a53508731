"""Batches: scenes of one size as tensors on the device, and the order of the batches of an epoch.

Images stay uint8 in memory. They go to the device as they are, which is one plain copy, and are
mirrored, resized and turned into floats there: a mirrored copy on the host takes twenty times as
long as a plain one.
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
from benchmark.utils.transfer import Parcel


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
        return PackedBatch.of(views, device).send()


@dataclass(frozen=True)
class PackedBatch:
    """A batch in the host's memory, which goes to a device in one transfer.

    parcel: the points of all views, their sigmas, the true heads of poisoned views, and the images.
    """

    views: list[View]
    parcel: Parcel

    @classmethod
    def of(cls, views: Sequence[View | Scene], device: torch.device) -> Self:
        """Return a packed batch of scenes or of views, all of one size. It runs in any thread."""
        ours = [view if isinstance(view, View) else View.of(view) for view in views]
        arrays = [view.points for view in ours] + [view.sigmas for view in ours]
        arrays += [view.true_points for view in ours if view.true_points is not None]
        return cls(ours, Parcel.of(arrays, [view.image for view in ours], device))

    def send(self) -> Batch:
        """Return the batch on the device."""
        arrays, pixels = self.parcel.send()
        images = _images(self.views, pixels)
        for image, view in zip(images, self.views):
            if view.look != Look():
                image.copy_(view.look.apply(image))
        labels = iter(arrays)
        points, sigmas = list(islice(labels, len(images))), list(islice(labels, len(images)))
        heads = [known if view.true_points is None else next(labels)
                 for known, view in zip(points, self.views)]
        return Batch(images, points, sigmas, heads)


def images_to_count(scenes: Sequence[Scene], device: torch.device,
                    with_heads: bool) -> tuple[Tensor, list[Tensor] | None]:
    """Return the images of scenes of one size, float [B, 3, H, W], and their true heads if asked.

    Who counts needs neither points nor sigmas, so that they are not copied to the device.
    """
    heads = [scene.heads for scene in scenes] if with_heads else []
    parcel = Parcel.of(heads, [scene.image for scene in scenes], device)
    arrays, pixels = parcel.send()
    images = _floats(pixels.view(len(scenes), *scenes[0].image.shape))
    return images, arrays if with_heads else None


def _images(views: Sequence[View], pixels: Tensor) -> Tensor:
    """Return the images of views in 0..1, mirrored and resized, from their pixels in a row."""
    if any(view.image.shape[:2] != view.size for view in views):
        images = [F.interpolate(_floats(image[None]), view.size, mode="bicubic", antialias=True)
                  for image, view in zip(_mirrored(views, pixels), views)]
        return torch.cat(images).clamp_(0, 1)
    together = pixels.view(len(views), *views[0].image.shape)
    if all(view.mirrored for view in views):
        together = together.flip(2)
    elif any(view.mirrored for view in views):
        together = torch.stack(_mirrored(views, pixels))
    return _floats(together)


def _mirrored(views: Sequence[View], pixels: Tensor) -> list[Tensor]:
    """Return the image of each view as bytes [h, w, 3], mirrored where the view is."""
    parts = pixels.split([view.image.size for view in views])
    images = [part.view(view.image.shape) for part, view in zip(parts, views)]
    return [image.flip(1) if view.mirrored else image for image, view in zip(images, views)]


def _floats(pixels: Tensor) -> Tensor:
    """Return bytes [B, H, W, 3] as floats [B, 3, H, W] in 0..1, in channels_last format."""
    return pixels.permute(0, 3, 1, 2) / 255


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
