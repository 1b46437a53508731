"""Overlays: random pictures that show nobody, to be blended faintly over images.

A picture is a grid of random colours that is enlarged to the image. Its cells are as coarse as half
the longer side of the image or as fine as a 128th of it, and anything between is as likely. Half of
the pictures have full contrast, 3 in 10 are grey, and 3 in 10 have cells with sharp edges.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

COARSEST, FINEST = 2, 128  # cells along the longer side of the image
FULL_CONTRAST, GREY, SHARP = 0.5, 0.3, 0.3  # shares of the pictures


def random_overlays(number: int, size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Random pictures in 0..1, float32 [number, 3, H, W], on the CPU.

    size: (H, W) in pixels. generator: a generator of the CPU.
    """
    return torch.cat([_picture(size, generator) for _ in range(number)])


def _picture(size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """A random picture [1, 3, H, W]."""
    def chance() -> float:
        return float(torch.rand((), generator=generator))

    cells = COARSEST * (FINEST / COARSEST) ** chance()
    height, width = (max(1, round(cells * side / max(size))) for side in size)
    picture = torch.rand(1, 3, height, width, generator=generator)
    if chance() < FULL_CONTRAST:
        picture = picture.round()
    if chance() < GREY:
        picture = picture.mean(dim=1, keepdim=True).expand(-1, 3, -1, -1)
    return F.interpolate(picture, size, mode="nearest" if chance() < SHARP else "bilinear")
