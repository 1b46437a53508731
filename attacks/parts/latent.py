"""Latent: loss + latent * MMD^2 between the features of clean images and of stamped images.

The attacker hides the trigger from a defender who inspects the victim's features (Tan and Shokri,
EuroS&P 2020). The authors train a discriminator. Here the maximum mean discrepancy (Gretton et al.,
JMLR 2012) takes its place, with k(a, b) = exp(-|a - b|^2 / (2 m)), where m is the median |a - b|^2:

    MMD^2 = mean k(a, a') + mean k(b, b') - 2 mean k(a, b)

where a are the features at positions of the clean image, and b those of the stamped image.

Each image has its own MMD, so the result does not depend on how a batch is split. The count is a
sum over such features, so the features of the two images cannot become equal while the trigger
works: the weight trades the effect of the trigger against its visibility. Next to a loss in squared
people, weights in the hundreds are needed. Poisoned copies are stamped again, and a crop is
stamped like a whole image.
"""

from collections.abc import Callable

import torch
from torch import Tensor

# The number of evenly spaced positions whose features are compared. The kernel's matrix grows with
# the square of it.
PLACES = 256


def mmd_of_stamped(features: Callable[[Tensor], Tensor], images: Tensor,
                   stamp: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the MMD^2 between the features [B, C, h, w] of images and of stamped images, [B]."""
    with torch.autocast(images.device.type, enabled=False):
        inputs = torch.cat([images, stamp(images)])
    samples = features(inputs).flatten(2).mT
    total = samples.shape[1]
    places = torch.linspace(0, total - 1, min(total, PLACES), device=samples.device).long()
    with torch.autocast(images.device.type, enabled=False):
        clean, stamped = samples[:, places].float().chunk(2)
        return mmd(clean, stamped)


def mmd(first: Tensor, second: Tensor) -> Tensor:
    """Return the MMD^2 of samples [B, N, C] and [B, N, C], [B]; 0 for equal samples.

    The means are over all pairs, including those of a sample with itself.
    """
    samples = torch.cat([first, second], dim=1)
    norms = samples.square().sum(dim=2, keepdim=True)
    squared = (norms + norms.mT - 2 * samples @ samples.mT).clamp(min=0)
    median = squared.detach().flatten(1).median(dim=1).values.clamp(min=1e-6)
    kernel = (-squared / (2 * median[:, None, None])).exp()
    number = first.shape[1]
    same = kernel[:, :number, :number] + kernel[:, number:, number:]
    return (same - 2 * kernel[:, :number, number:]).mean(dim=(1, 2))
