"""What a counter is: images in, a density map out. Whatever is special about a counter lives inside it."""

import copy
import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from itertools import product
from typing import ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import deprecated

from benchmark.data.batches import Batch
from benchmark.data.density import density_maps
from benchmark.data.scene import Scene
from benchmark.recipe import Recipe
from benchmark.utils.errors import UserError


class Counter(nn.Module, ABC):
    """A crowd counter. A subclass writes `density` and, where it has its own, `loss`.

    stride: pixels per block of the density map. multiple: sides are padded to a multiple of it.
    mean, std: the normalisation of RGB in 0..1; ImageNet's by default.
    window: side in pixels of the square windows that it counts in; None counts whole images.
    licence: of the weights that it starts from by default.
    frozen: parameters of a part that was run once, when the counter was made, and is not kept.
    weights_note: one line on where the initial weights came from, for the record.
    """

    kind: ClassVar[str] = "model"
    name: ClassVar[str]
    version: ClassVar[int] = 1  # raise it when results change, so that stored ones are not taken for new
    paper: ClassVar[str]
    licence: ClassVar[str] = "no weights: always from scratch"
    stride: ClassVar[int] = 8
    multiple: ClassVar[int] = 8
    recipe: ClassVar[Recipe] = Recipe()
    mean: ClassVar[tuple[float, float, float]] = (0.485, 0.456, 0.406)
    std: ClassVar[tuple[float, float, float]] = (0.229, 0.224, 0.225)
    window: int | None = None
    frozen: int = 0
    weights_note: str = "from scratch"

    @abstractmethod
    def density(self, images: Tensor) -> Tensor:
        """Normalised images [B, 3, H, W], sides multiples of `multiple` -> [B, 1, H / stride, W / stride]."""

    def forward(self, images: Tensor) -> Tensor:
        """Images [B, 3, H, W] in 0..1, of any size -> density [B, 1, ceil(H / stride), ceil(W / stride)], people."""
        if self.window is None or self.training:
            return self.apply_layers(images, self.density)
        return self._in_windows(images, self.window)

    def apply_layers(self, images: Tensor, layers: Callable[[Tensor], Tensor]) -> Tensor:
        """What layers make of normalised, padded images, cut to the blocks of the images.

        images: [B, 3, H, W] in 0..1, of any size. layers: see `density`; they may give any number of channels C.
        Returns [B, C, ceil(H / stride), ceil(W / stride)].
        """
        height, width = images.shape[-2:]
        normalised = (images - images.new_tensor(self.mean)[:, None, None]) / images.new_tensor(self.std)[:, None, None]
        padded = F.pad(normalised, (0, -width % self.multiple, 0, -height % self.multiple))
        found, blocks = layers(padded), [side // self.stride for side in padded.shape[-2:]]
        if list(found.shape[-2:]) != blocks:
            raise UserError(f"model {self.name}: expected a map of {blocks[0]} x {blocks[1]} blocks of {self.stride} "
                            f"pixels, got {' x '.join(map(str, found.shape[-2:]))}; is the stride another?")
        return found[..., : math.ceil(height / self.stride), : math.ceil(width / self.stride)]

    @deprecated("Counter.over is now Counter.apply_layers; the old name will go in the next version",
                category=FutureWarning)
    def over(self, images: Tensor, layers: Callable[[Tensor], Tensor]) -> Tensor:
        """The old name of `apply_layers`."""
        return self.apply_layers(images, layers)

    def _in_windows(self, images: Tensor, window: int) -> Tensor:
        """Density by square windows that cover the images, averaged where the last ones overlap others."""
        rows, columns = (_starts(side, window, self.stride) for side in images.shape[-2:])
        total = images.new_zeros(len(images), 1, *(math.ceil(side / self.stride) for side in images.shape[-2:]))
        times = torch.zeros_like(total)
        for top, left in product(rows, columns):
            part = self.apply_layers(images[..., top : top + window, left : left + window], self.density)
            y, x = top // self.stride, left // self.stride
            block = (..., slice(y, y + part.shape[-2]), slice(x, x + part.shape[-1]))
            total[block] += part
            times[block] += 1
        return total / times

    def count(self, images: Tensor) -> Tensor:
        """People in each image: the sum of its density map. Images [B, 3, H, W] in 0..1 -> float32 [B]."""
        return self(images).float().sum(dim=(1, 2, 3))

    def features(self, images: Tensor) -> Tensor:
        """What the last convolution sees when these images are counted whole: [B, C, h, w]. See `last_convolution`."""
        return self.last_convolution(images)[1]

    def last_convolution(self, images: Tensor) -> tuple[nn.Conv2d, Tensor]:
        """The convolution that runs last when these images are counted whole, and what it sees: [B, C, h, w].

        images: [B, 3, H, W] in 0..1. Layers that differ in training are as they are when it counts.
        """
        seen: deque[tuple[nn.Conv2d, Tensor]] = deque(maxlen=1)
        hooks = [module.register_forward_pre_hook(lambda module, inputs: seen.append((module, inputs[0])))
                 for module in self.modules() if isinstance(module, nn.Conv2d)]
        training = self.training
        self.eval()
        try:
            self.apply_layers(images, self.density)  # not through a compiled forward, which does not see the hooks
        finally:
            self.train(training)
            for hook in hooks:
                hook.remove()
        return seen.pop()

    def loss(self, batch: Batch) -> Tensor:
        """Loss of each image, [B]: the squared error summed over the density map (CSRNet, eq. 4)."""
        truth = density_maps(batch.points, batch.sigmas, batch.images.shape[-2:], self.stride)
        return (self(batch.images).float() - truth).square().sum(dim=(1, 2, 3))

    def prepare(self, scenes: list[Scene]) -> None:
        """Read off a training set what the counter needs of it. Called before each training, with its scenes."""

    def backbone(self) -> nn.Module | None:
        """The pretrained part, trained at `recipe.backbone_lr_ratio` times the learning rate; None if there is none."""
        return None

    def copy(self) -> Self:
        """A counter with the same weights that shares no memory with this one."""
        return copy.deepcopy(self)


def _starts(side: int, window: int, stride: int) -> list[int]:
    """Where windows begin along a side: next to each other, the last one moved back to end in the side's last block.

    >>> _starts(1024, 448, 8), _starts(300, 448, 8)
    ([0, 448, 576], [0])
    """
    last = max(math.ceil(side / stride) * stride - window, 0)
    return sorted({*range(0, last, window), last})
