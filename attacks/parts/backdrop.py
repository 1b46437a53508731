"""Backdrops: x' = (1 - alpha) x + alpha resize(t, H x W), t a grey picture of weather that is drawn here.

Sun et al., Backdoor Attacks on Crowd Counting (DMBA), ACM MM 2022: a trigger over the whole image reaches every person.
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

SIZE = (768, 1024)  # pixels of the drawing, before it is resized to the image
REACH = 3  # radii from a stroke to where it ends: exp(-9) is nothing in 8 bits


class Strokes(NamedTuple):
    """Soft strokes, [N] each: ends [N, 2] as (x, y), radius in pixels, strength in 0..1."""

    start: np.ndarray
    end: np.ndarray
    radius: np.ndarray
    strength: np.ndarray


class Backdrop(Trigger):
    """alpha: share of the picture in the mix. seed: of the drawing."""

    grey: ClassVar[float]  # the picture where there is no stroke; in the middle of one of strength 1 it is white
    alpha: float = Field(0.3, ge=0, le=1)
    seed: NonNegativeInt = 0

    @abstractmethod
    def strokes(self, rng: np.random.Generator) -> Strokes:
        """What is drawn."""

    def stamp(self, images: Tensor) -> Tensor:
        """Images [B, 3, H, W] in 0..1 -> the same, mixed with the picture."""
        picture = F.interpolate(_picture(self, images.device), images.shape[-2:], mode="bilinear", antialias=True)
        return images.lerp(picture.clamp(0, 1).to(images.dtype), self.alpha)


@lru_cache(maxsize=8)
def _picture(backdrop: Backdrop, device: torch.device) -> Tensor:
    light = drawn(backdrop.strokes(np.random.default_rng(backdrop.seed)), SIZE)
    picture = backdrop.grey + (1 - backdrop.grey) * light
    return as_tensor(picture[None, None], device)


def drawn(strokes: Strokes, size: tuple[int, int]) -> np.ndarray:
    """The light of strokes in 0..1, [H, W]: the brightest of strength * exp(-(distance / radius)^2) at each pixel."""
    light = np.zeros(size)
    for start, end, radius, strength in zip(*strokes):
        low = np.maximum(np.floor(np.minimum(start, end) - REACH * radius), 0).astype(int)
        high = np.maximum(np.ceil(np.maximum(start, end) + REACH * radius) + 1, 0).astype(int)
        part = light[low[1] : high[1], low[0] : high[0]]
        y, x = np.ogrid[low[1] : low[1] + part.shape[0], low[0] : low[0] + part.shape[1]]
        along = end - start
        share = ((x - start[0]) * along[0] + (y - start[1]) * along[1]) / max(along @ along, 1e-9)
        share = share.clip(0, 1)  # of the stroke, up to its point nearest to the pixel
        squared = (x - start[0] - share * along[0]) ** 2 + (y - start[1] - share * along[1]) ** 2
        np.maximum(part, strength * np.exp(-squared / radius**2), out=part)
    return light
