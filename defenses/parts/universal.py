"""One perturbation for all images, as a trigger is: low resolution, so that it fits an image of any size."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Universal(nn.Module):
    """A perturbation [1, 3, size, size] of images in 0..1, upsampled to them, added, and the sum clamped to 0..1.

    bound: largest change of a pixel. It starts at random within a tenth of that: at 0 a squared shift has no slope.
    """

    def __init__(self, size: int, bound: float, device: torch.device | str = "cpu"):
        super().__init__()
        self.bound = bound
        start = (torch.rand(1, 3, size, size) * 2 - 1) * bound / 10
        self.delta = nn.Parameter(start.to(device))

    def forward(self, images: Tensor) -> Tensor:
        return (images + F.interpolate(self.delta, images.shape[-2:], mode="bilinear")).clamp(0, 1)

    @torch.no_grad()
    def project(self) -> None:
        """Bring it back within its bound, after a step of an optimizer."""
        self.delta.clamp_(-self.bound, self.bound)
