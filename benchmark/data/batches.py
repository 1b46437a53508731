"""Scenes -> batches on the device. Images stay uint8 in memory; floats are made per batch."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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

    images: float [B, 3, H, W] in 0..1. points: per image [N, 2] as (x, y) pixels. sigmas: per image [N] pixels.
    """

    images: Tensor
    points: list[Tensor]
    sigmas: list[Tensor]

    @classmethod
    def of(cls, views: Sequence[View | Scene], device: torch.device) -> Self:
        """A batch of scenes, or of augmented views of them, of one size."""
        if all(view.image.shape[:2] == view.size for view in views):
            images = _floats(np.stack([view.image for view in views]), device)
        else:
            images = torch.cat([_resized(view, device) for view in views])
        for image, view in zip(images, views):
            if isinstance(view, View) and view.look != Look():
                image.copy_(view.look.apply(image))
        return cls(images, [torch.tensor(view.points, device=device) for view in views],
                   [torch.tensor(view.sigmas, device=device) for view in views])


def _floats(images: np.ndarray, device: torch.device) -> Tensor:
    """uint8 [B, H, W, 3] -> float [B, 3, H, W] in 0..1; it travels as bytes, and is channels_last already."""
    return torch.from_numpy(images).to(device, non_blocking=True).permute(0, 3, 1, 2).float() / 255


def _resized(view: View, device: torch.device) -> Tensor:
    image = _floats(np.ascontiguousarray(view.image)[None], device)
    return F.interpolate(image, view.size, mode="bicubic", antialias=True).clamp(0, 1)


def shuffled(scenes: list[Scene], recipe: Recipe, rng: np.random.Generator) -> list[list[int]]:
    """Indices of an epoch's batches: every scene once, in random order, each batch of scenes of one size."""
    by_size = defaultdict(list)
    for index in rng.permutation(len(scenes)):
        by_size[trained_size(scenes[index], recipe)].append(int(index))
    size = recipe.batch_size
    batches = [group[i : i + size] for group in by_size.values() for i in range(0, len(group), size)]
    return [batches[i] for i in rng.permutation(len(batches))]


def in_order(scenes: list[Scene], batch_size: int) -> Iterator[list[int]]:
    """Indices of batches for evaluation: every scene once, grouped by size."""
    by_size = defaultdict(list)
    for index, scene in enumerate(scenes):
        by_size[scene.size].append(index)
    for group in by_size.values():
        yield from (group[i : i + batch_size] for i in range(0, len(group), batch_size))
