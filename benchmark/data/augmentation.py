"""Augmentation: a random crop, flip and change of look of each scene that is trained on.

Everything random is drawn here. The pixels are changed later, on the device.
"""

from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from benchmark.data.scene import Scene
from benchmark.recipe import Recipe

JITTER = 0.1  # the largest change of brightness, contrast and saturation, as a share
BLUR = (0.1, 5.0)  # the range of the blur's sigma in pixels; its kernel has 5 x 5 pixels
GAMMA = (0.5, 1.5)  # the range of the gamma
NOISE = 1e-3  # the share of values that become white, and the share that become black


@dataclass(frozen=True)
class Look:
    """Changes of colour, sharpness and noise. The defaults change nothing.

    brightness, contrast, saturation: factors, where 1 changes nothing.
    blur: the sigma of the blur in pixels; None is no blur.
    noise: the seed of the salt-and-pepper noise; None is no noise.
    """

    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0
    gamma: float = 1.0
    blur: float | None = None
    noise: int | None = None

    def apply(self, image: Tensor) -> Tensor:
        """Return an image [3, H, W] in 0..1, on any device, with this look."""
        # The import takes seconds, and most recipes do not change the look.
        from torchvision.transforms.v2 import functional as F

        changes = ((F.adjust_brightness, self.brightness), (F.adjust_contrast, self.contrast),
                   (F.adjust_saturation, self.saturation), (F.adjust_gamma, self.gamma))
        for change, factor in changes:
            if factor != 1:
                image = change(image, factor)
        if self.blur is not None:
            image = F.gaussian_blur(image, [5, 5], [self.blur, self.blur])
        if self.noise is not None:
            # Drawn on the CPU, so that it is the same on all devices.
            generator = torch.Generator().manual_seed(self.noise)
            drawn = torch.rand(image.shape, generator=generator).to(image.device)
            image = image.masked_fill(drawn < NOISE, 1.0).masked_fill(drawn > 1 - NOISE, 0.0)
        return image


@dataclass(frozen=True)
class View:
    """An augmented view of a scene.

    image: uint8 [h, w, 3], a part of the scene's image as it lies in memory.
    points, sigmas: the heads [N, 2] and their widths [N], in pixels of `size`; mirrored if the view
        is.
    size: (H, W) in pixels, to which the image is resized on the device.
    true_points: see `Scene`; mirrored if the view is.
    mirrored: whether the image is flipped from left to right on the device, before it is resized.
    """

    image: np.ndarray
    points: np.ndarray
    sigmas: np.ndarray
    size: tuple[int, int]
    look: Look = Look()
    true_points: np.ndarray | None = None
    mirrored: bool = False

    @classmethod
    def of(cls, scene: Scene) -> Self:
        """Return the view that shows a scene as it is."""
        return cls(scene.image, scene.points, scene.sigmas, scene.size,
                   true_points=scene.true_points)

    @property
    def heads(self) -> np.ndarray:
        """The true heads, also in a poisoned image, float32 [N, 2] as (x, y)."""
        return self.points if self.true_points is None else self.true_points


def augment(scene: Scene, recipe: Recipe, rng: np.random.Generator) -> View:
    """Return a random view of a scene, without a copy of the image.

    Heads outside the crop are left out.
    """
    image = scene.image
    points = scene.points
    sigmas = scene.sigmas
    true_points = scene.true_points
    size = trained_size(scene, recipe)
    if recipe.crop is not None:
        rows, columns = size
        if recipe.zoom is not None:
            rows = columns = _zoomed(scene, recipe, rng)
        top = int(rng.integers(scene.size[0] - rows + 1))
        left = int(rng.integers(scene.size[1] - columns + 1))
        image = image[top : top + rows, left : left + columns]
        crop = _Crop(left, top, columns, rows, np.float32(size[1] / columns))
        points, inside = crop.of(points)
        sigmas = sigmas[inside] * crop.factor
        if true_points is not None:
            true_points, _ = crop.of(true_points)
    mirrored = recipe.flip and rng.random() < 0.5
    if mirrored:
        points = _flipped(points, size[1])
        if true_points is not None:
            true_points = _flipped(true_points, size[1])
    return View(image, points, sigmas, size, _look(recipe, rng), true_points, mirrored)


class _Crop(NamedTuple):
    """A part of an image, in its pixels, which is then resized by a factor."""

    left: int
    top: int
    columns: int
    rows: int
    factor: np.float32

    def of(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the points [M, 2] in the part, in its pixels, and which of all they are, [N]."""
        points = points - np.float32([self.left, self.top])
        inside = ((points >= 0) & (points < [self.columns, self.rows])).all(axis=1)
        return points[inside] * self.factor, inside


def _flipped(points: np.ndarray, width: int) -> np.ndarray:
    """Return points in the image that is flipped from left to right."""
    return np.stack([width - points[:, 0], points[:, 1]], axis=1)


def trained_size(scene: Scene, recipe: Recipe) -> tuple[int, int]:
    """Return (H, W) of the views of a scene, in pixels."""
    height, width = scene.size
    if recipe.crop is None:
        return height, width
    if isinstance(recipe.crop, float):
        return max(int(height * recipe.crop), 1), max(int(width * recipe.crop), 1)
    if recipe.zoom is not None:
        return recipe.crop, recipe.crop
    return min(height, recipe.crop), min(width, recipe.crop)


def _zoomed(scene: Scene, recipe: Recipe, rng: np.random.Generator) -> int:
    """Return the side of a square that is cut and resized to the crop, within the image's sides."""
    return max(min(int(recipe.crop * rng.uniform(*recipe.zoom)), *scene.size), 1)


def _look(recipe: Recipe, rng: np.random.Generator) -> Look:
    """Return a random look with the probabilities of the recipe."""
    changes = {}
    if rng.random() < recipe.jitter:
        for key in ("brightness", "contrast", "saturation"):
            changes[key] = rng.uniform(1 - JITTER, 1 + JITTER)
    if rng.random() < recipe.gamma:
        changes["gamma"] = rng.uniform(*GAMMA)
    if rng.random() < recipe.blur:
        changes["blur"] = rng.uniform(*BLUR)
    if rng.random() < recipe.noise:
        changes["noise"] = int(rng.integers(2**31))
    return Look(**changes)
