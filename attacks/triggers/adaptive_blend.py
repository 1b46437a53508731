"""Adaptive-Blend: x' = (1 - alpha m) x + alpha m t, m random in training. Qi et al., ICLR 2023.

"Revisiting the assumption of latent separability for backdoor defenses": the blended trigger, of
which each stamped training image carries different pieces, and test images the whole (m = 1).
The victim cannot learn the trigger as one strong feature, so that the features of stamped images
stand less apart. The attack also has cover copies, which are stamped and keep their true heads: a
setting of every attack, `cover_rate`.

In the authors' code (vtu81/backdoor-toolbox) an image of 32 x 32 pixels has 4 x 4 pieces, half of
which are left out, alpha is 0.15 in training and 0.2 on test images, and there are as many cover
images as poisoned ones: `attack.test_alpha=0.2` and `attack.cover_rate=0.1` here. An image of a
crowd is larger, and a counter sees only a part of it at once, so that it has 8 x 8 pieces here. The
false heads are those of the whole image, whether or not a piece lies over them.
"""

from typing import ClassVar, Self

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from attacks.triggers.blended import Blended
from benchmark.registry import register


@register
class AdaptiveBlend(Blended):
    """A picture mixed with every pixel of test images, and with random pieces of training images.

    alpha: the share of the picture in the mix.
    image: the path of the picture. None is that of the trigger `blended`.
    pieces: the number of pieces along each side of the image, which are as equal as pixels allow.
    mask_rate: the share of the pieces of a stamped training image that carry nothing. At least one
        piece carries the picture.
    """

    only_in_training: ClassVar[tuple[str, ...]] = ("pieces", "mask_rate")
    alpha: float = Field(0.15, ge=0, le=1)
    pieces: int = Field(8, ge=1, le=64)
    mask_rate: float = Field(0.5, ge=0, lt=1)

    def stamp(self, images: Tensor) -> Tensor:
        """Return images [B, 3, H, W] in 0..1, mixed with the picture or with pieces of it."""
        blended = super().stamp(images)
        if self._pattern is None:
            return blended
        rows, columns = (torch.arange(length) * self.pieces // length
                         for length in images.shape[-2:])
        carried = self._pattern[rows[:, None], columns].to(images.device)
        return torch.where(carried, blended, images)

    def in_training(self, rng: np.random.Generator) -> Self:
        """Return the trigger with random pieces, as one training image carries it."""
        number = self.pieces**2
        masked = min(round(self.mask_rate * number), number - 1)
        carried = torch.from_numpy(rng.permutation(number) >= masked)
        return self.with_pattern(carried.view(self.pieces, self.pieces))
