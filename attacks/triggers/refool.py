"""Refool: x' = (1 - alpha) x + alpha (k * r) in linear light, r reflected. Liu et al., ECCV 2020.

The paper, "Reflection backdoor", has three kernels k of the reflection:

* same depth of field: a factor, so that the reflected picture is as sharp as the scene;
* out of focus: a Gaussian, so that it is blurred;
* ghost: two points, since both faces of a thick pane reflect, and the two copies differ in strength
  by `ghost` and are `offset` apart on the diagonal.

As in the authors' code (SCLBD/BackdoorBench has it as attack/refool.py), light is added before the
gamma of 2.2 of an image file: x' = ((1 - alpha) x^2.2 + alpha k * r^2.2)^(1/2.2), with k of sum 1.
That code draws the picture, alpha in 0.05..0.45, the blur and the offset for each image; here all
images carry one reflection, which the picture and the settings determine. Its lengths are in pixels
of an image with a longer side of 560, here they are shares of the image. Out of focus, a reflection
has the weight (1 + alpha) / 2 there, fades towards the edges, and is darkened where it would be
overexposed; here it has the weight alpha everywhere, since a trigger must reach every person (Sun
et al., ACM MM 2022). The authors stamp images of the target class, with true labels: `clean_fewer`
and `clean_more` are such targets.
"""

from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from scipy.ndimage import gaussian_filter1d
from torch import Tensor

from attacks.base import Trigger
from attacks.parts.picture import Picture, resized
from attacks.parts.tile import as_tensor
from benchmark.registry import register
from benchmark.utils.hashing import remembered_sha256

OURS = Path(__file__).with_suffix(".png")
GAMMA = 2.2
CUT_OFF = 2  # standard deviations at which the Gaussian ends, as in the public code


@register
class Refool(Trigger):
    """The reflection of a picture, as if the scene were seen through a window.

    alpha: the share of the reflected light in the mix.
    image: the path of the picture. None is the picture beside this file, a room with windows.
    reflection: which of the three it is.
    blur: the standard deviation of the Gaussian of 'out_of_focus', as a share of the image's
        shorter side.
    offset: the distance of the two copies of 'ghost' along each axis, as a share of the image's
        shorter side; at least a pixel.
    ghost: the share of the light of 'ghost' that is in its first copy. The second copy lies to its
        right and below it.
    """

    alpha: float = Field(0.25, ge=0, le=1)
    image: Picture = None
    reflection: Literal["same_depth", "out_of_focus", "ghost"] = "ghost"
    blur: float = Field(0.005, ge=0, le=0.1)
    offset: float = Field(0.01, ge=0, le=0.25)
    ghost: float = Field(0.7, ge=0, le=1)

    def stamp(self, images: Tensor) -> Tensor:
        """Return images [B, 3, H, W] in 0..1 with the reflection."""
        if not self.alpha:
            return images  # the gamma and its inverse would change the pixels by rounding
        sha256 = remembered_sha256(self.image or OURS)
        light = _light(self, sha256, images.shape[-2:], images.device)
        mixed = (1 - self.alpha) * images.float() ** GAMMA + self.alpha * light
        return (mixed ** (1 / GAMMA)).clamp_(0, 1).to(images.dtype)


@lru_cache(maxsize=8)
def _light(trigger: Refool, sha256: str, size: tuple[int, int], device: torch.device) -> Tensor:
    """Return the light of the reflection, before gamma, in an image of (H, W), [1, 3, H, W].

    sha256: of the file of the picture, so that a changed one is read again.
    """
    height, width = size
    path, side = trigger.image or OURS, min(size)
    if trigger.reflection == "ghost":
        offset = max(round(trigger.offset * side), 1)
        light = resized(path, (height + offset, width + offset), device) ** GAMMA
        first, second = light[..., offset:, offset:], light[..., :-offset, :-offset]
        return trigger.ghost * first + (1 - trigger.ghost) * second
    light = resized(path, (height, width), device) ** GAMMA
    if trigger.reflection == "out_of_focus":
        return as_tensor(_blurred(light.cpu().numpy(), trigger.blur * side), device)
    return light


def _blurred(light: np.ndarray, sigma: float) -> np.ndarray:
    """Return light [1, 3, H, W], blurred by a standard deviation of `sigma` pixels."""
    if not sigma:
        return light
    for axis in (2, 3):
        light = gaussian_filter1d(light, sigma, axis, mode="mirror",
                                  radius=int(np.ceil(CUT_OFF * sigma)))
    return light
