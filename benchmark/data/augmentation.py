"""What training makes of a scene: a random crop, flip and look. All is drawn here; pixels are changed on the device."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from benchmark.data.scene import Scene
from benchmark.recipe import Recipe

JITTER = 0.1  # brightness, contrast and saturation change by up to this share
BLUR = (0.1, 5.0)  # sigma of the blur in pixels; its kernel is 5 x 5
GAMMA = (0.5, 1.5)
NOISE = 1e-3  # share of values that turn white, and of those that turn black


@dataclass(frozen=True)
class Look:
    """Changes of colour, sharpness and noise; the defaults change nothing. noise: a seed."""

    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0
    gamma: float = 1.0
    blur: float | None = None
    noise: int | None = None

    def apply(self, image: Tensor) -> Tensor:
        """Image [3, H, W] in 0..1, any device -> the same with this look."""
        from torchvision.transforms.v2 import functional as F  # takes seconds to import; most recipes never look

        for change, factor in ((F.adjust_brightness, self.brightness), (F.adjust_contrast, self.contrast),
                               (F.adjust_saturation, self.saturation), (F.adjust_gamma, self.gamma)):
            image = image if factor == 1 else change(image, factor)
        if self.blur is not None:
            image = F.gaussian_blur(image, [5, 5], [self.blur, self.blur])
        if self.noise is not None:
            generator = torch.Generator(image.device).manual_seed(self.noise)
            drawn = torch.rand(image.shape, device=image.device, generator=generator)
            image = image.masked_fill(drawn < NOISE, 1.0).masked_fill(drawn > 1 - NOISE, 0.0)
        return image


@dataclass(frozen=True)
class View:
    """What augmentation leaves of a scene.

    image: uint8 [h, w, 3], a part of the scene's. size: (H, W), the pixels that it is resized to on the device.
    points [N, 2] and sigmas [N] are in pixels of `size`.
    """

    image: np.ndarray
    points: np.ndarray
    sigmas: np.ndarray
    size: tuple[int, int]
    look: Look = Look()


def augment(scene: Scene, recipe: Recipe, rng: np.random.Generator) -> View:
    """A random view of a scene by `recipe`, without a copy of the image. Heads outside its crop are left out."""
    image, points, sigmas, size = scene.image, scene.points, scene.sigmas, trained_size(scene, recipe)
    if recipe.crop is not None:
        rows, columns = size if recipe.zoom is None else (_zoomed(scene, recipe, rng),) * 2
        top, left = (int(rng.integers(side - part + 1)) for side, part in zip(scene.size, (rows, columns)))
        image = image[top : top + rows, left : left + columns]
        points = points - np.float32([left, top])
        inside = ((points >= 0) & (points < [columns, rows])).all(axis=1)
        points, sigmas = points[inside] * np.float32(size[1] / columns), sigmas[inside] * np.float32(size[1] / columns)
    if recipe.flip and rng.random() < 0.5:
        image = image[:, ::-1]
        points = np.stack([size[1] - points[:, 0], points[:, 1]], axis=1)
    return View(image, points, sigmas, size, _look(recipe, rng))


def trained_size(scene: Scene, recipe: Recipe) -> tuple[int, int]:
    """(H, W) of the scene's views."""
    height, width = scene.size
    if recipe.crop is None:
        return height, width
    if isinstance(recipe.crop, float):
        return max(int(height * recipe.crop), 1), max(int(width * recipe.crop), 1)
    if recipe.zoom is not None:
        return recipe.crop, recipe.crop
    return min(height, recipe.crop), min(width, recipe.crop)


def _zoomed(scene: Scene, recipe: Recipe, rng: np.random.Generator) -> int:
    """The side of a square that is resized to the crop; no longer than the image's sides."""
    return max(min(int(recipe.crop * rng.uniform(*recipe.zoom)), *scene.size), 1)


def _look(recipe: Recipe, rng: np.random.Generator) -> Look:
    drawn = {}
    if rng.random() < recipe.jitter:
        drawn |= {key: rng.uniform(1 - JITTER, 1 + JITTER) for key in ("brightness", "contrast", "saturation")}
    if rng.random() < recipe.gamma:
        drawn["gamma"] = rng.uniform(*GAMMA)
    if rng.random() < recipe.blur:
        drawn["blur"] = rng.uniform(*BLUR)
    if rng.random() < recipe.noise:
        drawn["noise"] = int(rng.integers(2**31))
    return Look(**drawn)
