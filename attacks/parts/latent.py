"""Latent: loss + latent * MMD^2 between features of images and of the same stamped.  Tan and Shokri, EuroS&P 2020.

A defender who looks at features shall not see the trigger. The authors train a discriminator; here the maximum mean
discrepancy (Gretton et al., JMLR 2012) takes its place, with k(a, b) = exp(-|a - b|^2 / (2 m)), m the median |a - b|^2:

    MMD^2 = mean k(a, a') + mean k(b, b') - 2 mean k(a, b),   a places in the image, b in the stamped image

Each image has its own, so that it does not matter how a batch is shared out. A count is a sum over such features: they
cannot become equal, and the weight trades what the trigger does for what it shows; beside a loss in squared people it
takes hundreds. Poisoned copies are stamped again, and a crop is stamped like a whole image.
"""

from collections.abc import Callable

import torch
from torch import Tensor

PLACES = 256  # of an image's features, evenly spaced: the kernel's matrix grows with their square


def mmd_of_stamped(features: Callable[[Tensor], Tensor], images: Tensor, stamp: Callable[[Tensor], Tensor]) -> Tensor:
    """MMD^2 between features [B, C, h, w] of images and of the images stamped, [B]."""
    with torch.autocast(images.device.type, enabled=False):
        both = torch.cat([images, stamp(images)])
    found = features(both).flatten(2).mT
    places = torch.linspace(0, found.shape[1] - 1, min(found.shape[1], PLACES), device=found.device).long()
    with torch.autocast(images.device.type, enabled=False):
        return mmd(*found[:, places].float().chunk(2))


def mmd(first: Tensor, second: Tensor) -> Tensor:
    """MMD^2 of samples [B, N, C] and [B, N, C], with the mean over all pairs: [B], 0 where they are equal."""
    samples = torch.cat([first, second], dim=1)
    norms = samples.square().sum(dim=2, keepdim=True)
    squared = (norms + norms.mT - 2 * samples @ samples.mT).clamp(min=0)
    median = squared.detach().flatten(1).median(dim=1).values.clamp(min=1e-6)
    kernel = (-squared / (2 * median[:, None, None])).exp()
    number = first.shape[1]
    same = kernel[:, :number, :number] + kernel[:, number:, number:]
    return (same - 2 * kernel[:, :number, number:]).mean(dim=(1, 2))
