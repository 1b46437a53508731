"""Images are changed before a counter sees them: the counter that does so, and the defense that makes it."""

from abc import abstractmethod
from collections.abc import Callable
from io import BytesIO

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms.v2 import functional as F

from benchmark.data.batches import Batch
from benchmark.data.scene import Scene
from defenses.base import Defense, Knowledge
from models.base import Counter

Change = Callable[[Tensor], Tensor]  # images [B, 3, H, W] in 0..1 -> the same
KEPT = ("stride", "multiple", "mean", "std", "window", "frozen", "weights_note")


class Preprocessed(Counter):
    """A counter that counts changed images. It learns, if it is trained again, from images as they are."""

    def __init__(self, counter: Counter, change: Change):
        super().__init__()
        self.counter, self.change = counter, change
        for key in KEPT:
            setattr(self, key, getattr(counter, key))

    def forward(self, images: Tensor) -> Tensor:
        return self.counter(self._changed(images))

    def last_convolution(self, images: Tensor) -> tuple[nn.Conv2d, Tensor]:
        return self.counter.last_convolution(self._changed(images))

    def density(self, images: Tensor) -> Tensor:
        return self.counter.density(images)

    def loss(self, batch: Batch) -> Tensor:
        return self.counter.loss(batch)

    def prepare(self, scenes: list[Scene]) -> None:
        self.counter.prepare(scenes)

    def backbone(self) -> nn.Module | None:
        return self.counter.backbone()

    def _changed(self, images: Tensor) -> Tensor:
        with torch.autocast(images.device.type, enabled=False):  # pixels keep their 8 bits
            return self.change(images)


class Preprocessing(Defense):
    """A repair that leaves the weights alone."""

    @abstractmethod
    def change(self, images: Tensor) -> Tensor:
        """Images [B, 3, H, W] in 0..1 -> the same with no person lost, each whatever the others are."""

    def wrap(self, counter: Counter) -> Counter:
        return Preprocessed(counter, self.change)

    def apply(self, victim: Counter, knowledge: Knowledge) -> Counter:
        return self.wrap(victim.copy())


def compressed(images: Tensor, quality: int) -> Tensor:
    """Images [B, 3, H, W] in 0..1 after JPEG, which runs on bytes and on the CPU."""
    decoded = torch.stack([_through_jpeg(pixels, quality) for pixels in as_bytes(images)])
    return decoded.to(images.device, images.dtype) / 255


def _through_jpeg(pixels: Tensor, quality: int) -> Tensor:
    file = BytesIO()
    Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(file, "JPEG", quality=quality)
    return torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1)


def blurred(images: Tensor, sigma: float) -> Tensor:
    """Images [B, 3, H, W] under a Gaussian of `sigma` pixels, cut off at 4 sigma or at the image's side."""
    radius = min(int(4 * sigma + 0.5), *(side - 1 for side in images.shape[-2:]))
    return F.gaussian_blur(images, [2 * radius + 1] * 2, [sigma, sigma])


def as_bytes(images: Tensor) -> Tensor:
    """Images in 0..1 -> uint8 on the CPU."""
    return (images.float() * 255).round().clamp(0, 255).byte().cpu()
