"""Scenes -> batches on the device. Images stay uint8 in memory; floats, flips and crops are made per batch."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from benchmark.data.scene import Scene


@dataclass(frozen=True)
class Batch:
    """Images of one size on one device.

    images: float [B, 3, H, W] in 0..1. points: per image [N, 2] as (x, y) pixels. sigmas: per image [N] pixels.
    """

    images: Tensor
    points: list[Tensor]
    sigmas: list[Tensor]

    @classmethod
    def of(cls, views: Sequence["View | Scene"], device: torch.device) -> Self:
        """A batch of scenes, or of augmented views of them, of one size."""
        images = torch.from_numpy(np.stack([view.image for view in views])).to(device, non_blocking=True)
        return cls(images.permute(0, 3, 1, 2).float() / 255,  # HWC in memory is channels_last already
                   [torch.tensor(view.points, device=device) for view in views],
                   [torch.tensor(view.sigmas, device=device) for view in views])


@dataclass(frozen=True)
class View:
    """What augmentation leaves of a scene: image uint8 [H, W, 3], points [N, 2], and their sigmas [N]."""

    image: np.ndarray
    points: np.ndarray
    sigmas: np.ndarray


def augment(scene: Scene, flip: bool, crop: int | None, rng: np.random.Generator) -> View:
    """A random horizontal flip (p = 0.5) and a random square crop, without a copy of the image.

    A side shorter than `crop` is kept whole. Heads outside the crop are left out.
    """
    image, points, sigmas = scene.image, scene.points, scene.sigmas
    if crop is not None:
        top, left = (int(rng.integers(max(side - crop, 0) + 1)) for side in scene.size)
        image = image[top : top + crop, left : left + crop]
        points = points - np.float32([left, top])
        inside = ((points >= 0) & (points < [image.shape[1], image.shape[0]])).all(axis=1)
        points, sigmas = points[inside], sigmas[inside]
    if flip and rng.random() < 0.5:
        image = image[:, ::-1]
        points = np.stack([image.shape[1] - points[:, 0], points[:, 1]], axis=1)
    return View(image, points, sigmas)


def shuffled(scenes: list[Scene], batch_size: int, crop: int | None, rng: np.random.Generator) -> list[list[int]]:
    """Indices of an epoch's batches: every scene once, in random order, each batch of scenes of one size."""
    by_size = defaultdict(list)
    for index in rng.permutation(len(scenes)):
        by_size[_trained_size(scenes[index], crop)].append(int(index))
    batches = [group[i : i + batch_size] for group in by_size.values() for i in range(0, len(group), batch_size)]
    return [batches[i] for i in rng.permutation(len(batches))]


def in_order(scenes: list[Scene], batch_size: int) -> Iterator[list[int]]:
    """Indices of batches for evaluation: every scene once, grouped by size."""
    by_size = defaultdict(list)
    for index, scene in enumerate(scenes):
        by_size[scene.size].append(index)
    for group in by_size.values():
        yield from (group[i : i + batch_size] for i in range(0, len(group), batch_size))


def _trained_size(scene: Scene, crop: int | None) -> tuple[int, ...]:
    return tuple(side if crop is None else min(side, crop) for side in scene.size)
