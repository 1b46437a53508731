"""Preprocessing: a counter that changes images before it counts them, and the defense around it."""

from abc import abstractmethod
from collections.abc import Callable
from io import BytesIO

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from benchmark.data.batches import Batch
from benchmark.data.scene import Scene
from defenses.base import Defense, Knowledge
from models.base import Counter

# From images [B, 3, H, W] in 0..1 to changed images of the same shape and range.
Change = Callable[[Tensor], Tensor]
COPIED = ("name", "recipe", "stride", "multiple", "mean", "std", "window", "may_be_negative",
          "weights_note")


class Preprocessed(Counter):
    """A counter that counts changed images. If it is trained again, it learns from unchanged ones.

    counter: the counter inside, whose attributes named in `COPIED` it takes.
    change: what is done to images before they are counted.
    """

    def __init__(self, counter: Counter, change: Change):
        super().__init__()
        self.counter = counter
        self.change = change
        for attribute in COPIED:
            if hasattr(counter, attribute):  # a counter that is not registered has no name
                setattr(self, attribute, getattr(counter, attribute))

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
    """A defense that changes the input images and leaves the victim's weights as they are."""

    @abstractmethod
    def change(self, images: Tensor) -> Tensor:
        """Images [B, 3, H, W] in 0..1 after the change, of the same shape and range.

        No person may be lost, and the change of an image must not depend on the others.
        """

    def wrap(self, counter: Counter) -> Counter:
        return Preprocessed(counter, self.change)

    def apply(self, victim: Counter, knowledge: Knowledge) -> Counter:
        return self.wrap(victim.copy())


def compressed(images: Tensor, quality: int) -> Tensor:
    """Images [B, 3, H, W] in 0..1 after JPEG compression, which runs on bytes and on the CPU."""
    decoded = torch.stack([_through_jpeg(pixels, quality) for pixels in as_bytes(images)])
    return decoded.to(images.device, images.dtype) / 255


def _through_jpeg(pixels: Tensor, quality: int) -> Tensor:
    """An image uint8 [3, H, W] after it was written as JPEG and read again."""
    file = BytesIO()
    Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(file, "JPEG", quality=quality)
    return torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1)


def blurred(images: Tensor, sigma: float) -> Tensor:
    """Images [B, 3, H, W] blurred by a Gaussian of `sigma` pixels.

    The kernel ends 4 sigma from its centre, or one pixel short of the image's shorter side.
    """
    radius = min(int(4 * sigma + 0.5), *(side - 1 for side in images.shape[-2:]))
    from torchvision.transforms.v2.functional import gaussian_blur  # takes a second to import

    return gaussian_blur(images, [2 * radius + 1] * 2, [sigma, sigma])


def as_bytes(images: Tensor) -> Tensor:
    """Images in 0..1 as uint8 on the CPU."""
    return (images.float() * 255).round().clamp(0, 255).byte().cpu()
