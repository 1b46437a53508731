"""Universal perturbations: one change for all images, as a trigger is, at a low resolution."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class UniversalPerturbation(nn.Module):
    """A perturbation [1, 3, size, size] that is upsampled to any image and added to it.

    It starts at random within a tenth of its bound, because a squared change of a count has no
    slope at 0.

    size: side of the perturbation before it is upsampled.
    bound: largest change of a pixel, for images in 0..1.
    """

    def __init__(self, size: int, bound: float, device: torch.device | str = "cpu"):
        super().__init__()
        self.bound = bound
        start = (torch.rand(1, 3, size, size) * 2 - 1) * bound / 10
        self.delta = nn.Parameter(start.to(device))

    def forward(self, images: Tensor) -> Tensor:
        """Perturbed images [B, 3, H, W], clamped to 0..1."""
        upsampled = F.interpolate(self.delta, images.shape[-2:], mode="bilinear")
        return (images + upsampled).clamp(0, 1)

    @torch.no_grad()
    def project(self) -> None:
        """Clamp the perturbation to its bound, in place, after a step of an optimizer."""
        self.delta.clamp_(-self.bound, self.bound)
