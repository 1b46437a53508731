"""Backdrops: x' = (1 - alpha) x + alpha resize(t, H x W), with t a grey drawing of weather.

A trigger over the whole image reaches every person: Sun et al., Backdoor Attacks on Crowd Counting
(DMBA), ACM MM 2022.
"""

from abc import abstractmethod
from functools import lru_cache
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from pydantic import Field, NonNegativeInt
from torch import Tensor
from torch.nn import functional as F

from attacks.base import Trigger
from attacks.parts.tile import as_tensor

SIZE = (768, 1024)  # (H, W) of the drawing in pixels, before it is resized to the image
REACH = 3  # radii at which a stroke is cut off: exp(-9) is invisible in 8 bits


class Strokes(NamedTuple):
    """N soft strokes.

    start, end: [N, 2] as (x, y) pixels. radius: [N] in pixels. strength: [N] in 0..1.
    """

    start: np.ndarray
    end: np.ndarray
    radius: np.ndarray
    strength: np.ndarray


class Backdrop(Trigger):
    """A trigger that mixes a drawing with every pixel.

    alpha: the share of the drawing in the mix.
    seed: the seed of the drawing.
    grey: the value of the drawing where it has no stroke. The middle of a stroke of strength 1 is
        white.
    """

    grey: ClassVar[float]
    alpha: float = Field(0.3, ge=0, le=1)
    seed: NonNegativeInt = 0

    @abstractmethod
    def strokes(self, rng: np.random.Generator) -> Strokes:
        """Return the strokes of the drawing, in a picture of SIZE."""

    def stamp(self, images: Tensor) -> Tensor:
        """Return images [B, 3, H, W] in 0..1, mixed with the drawing."""
        picture = F.interpolate(_picture(self, images.device), images.shape[-2:], mode="bilinear",
                                antialias=True)
        return images.lerp(picture.clamp(0, 1).to(images.dtype), self.alpha)


@lru_cache(maxsize=8)
def _picture(backdrop: Backdrop, device: torch.device) -> Tensor:
    """Return the drawing of a backdrop in 0..1, [1, 1, H, W] with (H, W) = SIZE."""
    light = drawn(backdrop.strokes(np.random.default_rng(backdrop.seed)), SIZE)
    picture = backdrop.grey + (1 - backdrop.grey) * light
    return as_tensor(picture[None, None], device)


def drawn(strokes: Strokes, size: tuple[int, int]) -> np.ndarray:
    """Return the light of strokes in 0..1, [H, W].

    At each pixel it is the largest strength * exp(-(distance / radius)^2) over the strokes.
    """
    light = np.zeros(size)
    for start, end, radius, strength in zip(*strokes):
        low = np.maximum(np.floor(np.minimum(start, end) - REACH * radius), 0).astype(int)
        high = np.maximum(np.ceil(np.maximum(start, end) + REACH * radius) + 1, 0).astype(int)
        part = light[low[1] : high[1], low[0] : high[0]]
        y, x = np.ogrid[low[1] : low[1] + part.shape[0], low[0] : low[0] + part.shape[1]]
        along = end - start
        share = ((x - start[0]) * along[0] + (y - start[1]) * along[1]) / max(along @ along, 1e-9)
        share = share.clip(0, 1)  # the position of the stroke's nearest point, from start to end
        squared = (x - start[0] - share * along[0]) ** 2 + (y - start[1] - share * along[1]) ** 2
        np.maximum(part, strength * np.exp(-squared / radius**2), out=part)
    return light
