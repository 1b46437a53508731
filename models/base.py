"""What a counter is: images in, a density map out. Whatever is special about a counter lives inside it."""

import copy
import math
from abc import ABC, abstractmethod
from typing import ClassVar, Self

from torch import Tensor, nn
from torch.nn import functional as F

from benchmark.density import density_maps
from benchmark.data.batches import Batch
from benchmark.recipe import Recipe


class Counter(nn.Module, ABC):
    """A crowd counter. A subclass writes `density` and, where it has its own, `loss`.

    stride: pixels per block of the density map. multiple: sides are padded to a multiple of it.
    mean, std: the normalisation of RGB in 0..1; ImageNet's by default.
    weights_note: one line on where the initial weights came from, for the record.
    """

    kind: ClassVar[str] = "model"
    name: ClassVar[str]
    version: ClassVar[int] = 1  # raise it when results change, so that stored ones are not taken for new
    paper: ClassVar[str]
    stride: ClassVar[int] = 8
    multiple: ClassVar[int] = 8
    recipe: ClassVar[Recipe] = Recipe()
    mean: ClassVar[tuple[float, float, float]] = (0.485, 0.456, 0.406)
    std: ClassVar[tuple[float, float, float]] = (0.229, 0.224, 0.225)
    weights_note: str = "from scratch"

    @abstractmethod
    def density(self, images: Tensor) -> Tensor:
        """Normalised images [B, 3, H, W], sides multiples of `multiple` -> [B, 1, H / stride, W / stride]."""

    def forward(self, images: Tensor) -> Tensor:
        """Images [B, 3, H, W] in 0..1, of any size -> density [B, 1, ceil(H / stride), ceil(W / stride)], people."""
        height, width = images.shape[-2:]
        normalised = (images - images.new_tensor(self.mean)[:, None, None]) / images.new_tensor(self.std)[:, None, None]
        padded = F.pad(normalised, (0, -width % self.multiple, 0, -height % self.multiple))
        return self.density(padded)[..., : math.ceil(height / self.stride), : math.ceil(width / self.stride)]

    def count(self, images: Tensor) -> Tensor:
        """People in each image: the sum of its density map. Images [B, 3, H, W] in 0..1 -> float32 [B]."""
        return self(images).float().sum(dim=(1, 2, 3))

    def loss(self, batch: Batch) -> Tensor:
        """Loss of each image, [B]: the squared error summed over the density map (CSRNet, eq. 4)."""
        truth = density_maps(batch.points, batch.sigmas, batch.images.shape[-2:], self.stride)
        return (self(batch.images).float() - truth).square().sum(dim=(1, 2, 3))

    def backbone(self) -> nn.Module | None:
        """The pretrained part, trained at `recipe.backbone_lr_ratio` times the learning rate; None if there is none."""
        return None

    def copy(self) -> Self:
        """A counter with the same weights that shares no memory with this one."""
        return copy.deepcopy(self)
