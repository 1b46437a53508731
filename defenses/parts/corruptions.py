"""Corruptions of images, of rising severity.  Hendrycks and Dietterich (ImageNet-C), ICLR 2019.

`IMAGENET_C` holds twelve of their fifteen corruptions at their five severities, with the numbers of
the code for images of any size (bethgelab/imagecorruptions, which TeCo uses). Lengths are in pixels
of the image. Left out are glass blur, which swaps pixels one after the other, frost, which needs
their photographs, and fog, whose fractal takes a longer program.

All that they draw for each image is fixed here, so that results can be repeated: the noise, the
flakes and the displacements are the same for all images of a size, motion is horizontal, and snow
falls straight down.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torch.nn import functional as F

from defenses.parts.preprocessing import Change, compressed


def gaussian_noise(images: Tensor, deviation: float) -> Tensor:
    """Images [B, 3, H, W] in 0..1 with normal noise of a standard deviation."""
    return (images + deviation * _normal(images)).clamp(0, 1)


def shot_noise(images: Tensor, photons: int) -> Tensor:
    """Images [B, 3, H, W] in 0..1 as numbers of photons; white has `photons` on average.

    A value has as many photons as there are numbers n with P(at most n) below its uniform draw.
    More than `photons` are white as well.
    """
    draws, rate = _uniform(images), photons * images
    probability = torch.exp(-rate)
    at_most = probability.clone()
    counted = torch.zeros_like(images)
    for number in range(1, photons + 1):
        counted += draws > at_most
        probability = probability * rate / number
        at_most += probability
    return counted / photons


def impulse_noise(images: Tensor, share: float) -> Tensor:
    """Images [B, 3, H, W] in 0..1, of whose values half of a share are 0 and half of it 1."""
    draws = _uniform(images)
    return images.masked_fill(draws < share / 2, 0).masked_fill(draws >= 1 - share / 2, 1)


def defocus_blur(images: Tensor, radius: int, smoothing: float) -> Tensor:
    """Images [B, 3, H, W] in 0..1 averaged over discs whose edges are smoothed by a Gaussian.

    radius: of the disc. smoothing: the standard deviation of the Gaussian, which reaches 1 pixel
        far, or 2 with a radius above 8.
    """
    from torchvision.transforms.v2.functional import gaussian_blur  # takes a second to import

    along = torch.arange(-radius - 3, radius + 4, device=images.device).square()
    disc = (along[:, None] + along <= radius**2).float()
    side = 3 if radius <= 8 else 5
    return _filtered(images, gaussian_blur((disc / disc.sum())[None], side, smoothing)[0])


def motion_blur(images: Tensor, length: int, deviation: float) -> Tensor:
    """Images [B, C, H, W] in 0..1 smeared to the left by up to 2 `length` pixels.

    The weights of the distances are those of a Gaussian of a standard deviation.
    """
    distance = torch.arange(-2 * length, 2 * length + 1, device=images.device)
    weights = torch.exp(distance.square() / (-2 * deviation**2)) * (distance >= 0)
    return _filtered(images, (weights / weights.sum())[None])


def zoom_blur(images: Tensor, end: float, step: float) -> Tensor:
    """The mean of images [B, 3, H, W] and their enlargements by 1, 1 + step, ... below `end`."""
    zooms = np.arange(1, end, step)
    return (images + sum(_enlarged(images, zoom) for zoom in zooms)) / (len(zooms) + 1)


def snow(images: Tensor, mean: float, deviation: float, zoom: float, threshold: float, length: int,
         smear: float, share: float) -> Tensor:
    """Images [B, 3, H, W] in 0..1 with white flakes, on a lighter ground.

    mean, deviation: of the normal noise whose values above `threshold` are flakes.
    zoom: the factor by which the noise is enlarged.
    length, smear: of the vertical motion of the flakes; see `motion_blur`.
    share: of the image; the rest is the lighter ground.
    """
    flakes = _enlarged(mean + deviation * _normal(images)[None, :1], zoom)
    flakes = flakes.masked_fill(flakes < threshold, 0).clamp(0, 1)
    flakes = motion_blur(flakes.mT, length, smear).mT
    weights = torch.tensor([0.299, 0.587, 0.114], device=images.device)
    grey = (images * weights[:, None, None]).sum(dim=1, keepdim=True)
    ground = share * images + (1 - share) * images.maximum(1.5 * grey + 0.5)
    return (ground + flakes + flakes.flip(-1, -2)).clamp(0, 1)


def brighter(images: Tensor, amount: float) -> Tensor:
    """Images [B, 3, H, W] in 0..1 whose V in the colour space HSV is raised by an amount."""
    value = images.amax(dim=1, keepdim=True)
    raised = (value + amount).clamp(max=1)
    return torch.where(value > 0, images * (raised / value.clamp(min=1e-9)), raised)


def less_contrast(images: Tensor, factor: float) -> Tensor:
    """Images [B, 3, H, W] in 0..1 that are drawn towards the mean colour of each."""
    mean = images.mean(dim=(2, 3), keepdim=True)
    return mean + factor * (images - mean)


def elastic(images: Tensor, factor: float) -> Tensor:
    """Images [B, 3, H, W] in 0..1 whose pixels are moved by `factor` x `_displacements`."""
    height, width = images.shape[-2:]
    moves = _displacements(height, width).to(images.device)
    y = (torch.arange(height, device=images.device)[:, None] + 0.5 + factor * moves[0]) / height
    x = (torch.arange(width, device=images.device) + 0.5 + factor * moves[1]) / width
    places = (2 * torch.stack([x, y], dim=-1) - 1).expand(len(images), -1, -1, -1)
    return F.grid_sample(images, places, padding_mode="reflection", align_corners=False)


def pixelated(images: Tensor, factor: float) -> Tensor:
    """Images [B, 3, H, W] in 0..1 reduced by a factor and enlarged again without interpolation."""
    size = images.shape[-2:]
    small = F.interpolate(images, [max(int(side * factor), 1) for side in size], mode="area")
    return F.interpolate(small, size, mode="nearest-exact")


def _normal(images: Tensor) -> Tensor:
    """Normal draws, [3, H, W], the same for all images of a size."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(images.shape[1:], generator=generator).to(images.device)


def _uniform(images: Tensor) -> Tensor:
    """Draws in 0..1, [3, H, W], the same for all images of a size."""
    generator = torch.Generator().manual_seed(0)
    return torch.rand(images.shape[1:], generator=generator).to(images.device)


@lru_cache(maxsize=8)
def _displacements(height: int, width: int) -> Tensor:
    """Smooth random displacements along y and x in pixels, float32 [2, height, width]."""
    draws = np.random.default_rng(0).uniform(-0.005 * height, 0.005 * height, (2, height, width))
    deviations = (0, 0.01 * height, 0.01 * width)
    return torch.tensor(gaussian_filter(draws, deviations, mode="reflect", truncate=3)).float()


def _enlarged(images: Tensor, zoom: float) -> Tensor:
    """The middle of images [B, C, H, W], enlarged by a factor to their size."""
    size = images.shape[-2:]
    height, width = (int(np.ceil(side / zoom)) for side in size)
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    middle = images[..., top : top + height, left : left + width]
    return F.interpolate(middle, size, mode="bilinear")


def _filtered(images: Tensor, kernel: Tensor) -> Tensor:
    """Images [B, C, H, W] weighted by a kernel of odd sides, with their border pixels repeated."""
    height, width = (side // 2 for side in kernel.shape)
    padded = F.pad(images, (width, width, height, height), mode="replicate")
    channels = images.shape[1]
    return F.conv2d(padded, kernel.expand(channels, 1, -1, -1), groups=channels)


def _severities(corrupt: Callable[..., Tensor], *settings: tuple[float, ...]) -> list[Change]:
    """A corruption with the settings of each severity, from the lowest to the highest."""
    return [lambda images, one=one: corrupt(images, *one) for one in settings]


IMAGENET_C: dict[str, list[Change]] = {
    "gaussian noise": _severities(gaussian_noise, (0.08,), (0.12,), (0.18,), (0.26,), (0.38,)),
    "shot noise": _severities(shot_noise, (60,), (25,), (12,), (5,), (3,)),
    "impulse noise": _severities(impulse_noise, (0.03,), (0.06,), (0.09,), (0.17,), (0.27,)),
    "defocus blur": _severities(defocus_blur, (3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
    "motion blur": _severities(motion_blur, (10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
    "zoom blur": _severities(zoom_blur, (1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02),
                             (1.31, 0.03)),
    "snow": _severities(snow, (0.1, 0.3, 3, 0.5, 10, 4, 0.8), (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
                        (0.55, 0.3, 4, 0.9, 12, 8, 0.7), (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
                        (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55)),
    "brightness": _severities(brighter, (0.1,), (0.2,), (0.3,), (0.4,), (0.5,)),
    "contrast": _severities(less_contrast, (0.4,), (0.3,), (0.2,), (0.1,), (0.05,)),
    "elastic": _severities(elastic, (12.5,), (16.25,), (21.25,), (25,), (30,)),
    "pixelate": _severities(pixelated, (0.6,), (0.5,), (0.4,), (0.3,), (0.25,)),
    "jpeg": _severities(compressed, (25,), (18,), (15,), (10,), (7,)),
}
