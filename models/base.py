"""The contract of a crowd counter. To write one, subclass `Counter` and write `density`:

    @register
    class MyCounter(Counter):
        \"\"\"width: number of channels of the first convolution.\"\"\"

        paper = "ours"
        recipe = Recipe(epochs=30, batch_size=8, lr=1e-3)    # how it is trained by default

        def __init__(self, width: int = 32):                 # a setting: --set model.width=64
            super().__init__()
            self.layers = nn.Sequential(nn.Conv2d(3, width, 9, stride=8, padding=4), nn.ReLU(),
                                        nn.Conv2d(width, 1, 3, padding=1))

        def density(self, images: Tensor) -> Tensor:         # normalised images -> people per block
            return self.layers(images)                       # of `stride` x `stride` pixels

The rest is optional. A counter with a loss of its own overrides `loss` (models/dm_count.py).
One that reads something off its training set, such as an average, overrides `prepare`
(models/parts/blockwise.py). One with a pretrained part overrides `backbone` and has a setting
`weights` that also takes 'scratch', because stored counters are loaded that way (models/csrnet.py).
"""

import copy
import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from functools import cache
from itertools import product
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import deprecated

from benchmark.data.batches import Batch
from benchmark.data.density import density_maps
from benchmark.data.scene import Scene
from benchmark.recipe import Recipe
from benchmark.utils.compilation import compilable
from benchmark.utils.errors import UserError
from benchmark.utils.torch_modules import in_evaluation_mode, watched
from benchmark.weights import KeyMap, mapped


class Counter(nn.Module, ABC):
    """A crowd counter: images in, a density map out.

    Class attributes:
        version: a number to raise when results change, so that stored results are not mistaken for
            new ones.
        paper: where the counter was published.
        licence: the licence of the weights that it starts from by default.
        stride: side in pixels of the square that one block of the density map covers.
        multiple: images are padded until their sides are multiples of this number of pixels.
        recipe: the default training settings.
        mean, std: the normalisation of RGB values in 0..1; by default that of ImageNet.
        trained_parameters: the number of parameters that are trained, at default settings; None
            where it was not declared.
        frozen_parameters: the number of parameters, at default settings, that are never trained:
            of layers that are kept as they are, and of a part that runs once when the counter is
            built and is not kept.
        may_be_negative: whether it can count fewer than 0 people. False where no block of the map
            can be below 0; the leaderboard then refuses such counts.
        public_names: the beginnings of the names of its tensors -> those in its authors' public
            code; None drops a tensor, which that code does not have. Empty where there is none.
        public_code: the owner and name of that code at GitHub; None where there is none.
        public_note: what those who load the tensors there must know.
        later_settings: settings that records were published without. A record names them only
            where they were given.

    Attributes that a counter may set when it is built:
        window: side in pixels of the square windows in which images are counted; None counts whole
            images.
        weights_note: one line for the record that says where the initial weights came from.
    """

    kind: ClassVar[str] = "model"
    name: ClassVar[str]
    version: ClassVar[int] = 1
    paper: ClassVar[str]
    licence: ClassVar[str] = "from scratch by default"
    stride: ClassVar[int] = 8
    multiple: ClassVar[int] = 8
    recipe: ClassVar[Recipe] = Recipe()
    mean: ClassVar[tuple[float, float, float]] = (0.485, 0.456, 0.406)
    std: ClassVar[tuple[float, float, float]] = (0.229, 0.224, 0.225)
    trained_parameters: ClassVar[int | None] = None
    frozen_parameters: ClassVar[int] = 0
    may_be_negative: ClassVar[bool] = True
    public_names: ClassVar[KeyMap] = {}
    public_code: ClassVar[str | None] = None
    public_note: ClassVar[str] = ""
    later_settings: ClassVar[tuple[str, ...]] = ()
    window: int | None = None
    weights_note: str = "from scratch"

    @abstractmethod
    def density(self, images: Tensor) -> Tensor:
        """The density map, in people per block: [B, 1, H / stride, W / stride].

        images: normalised, [B, 3, H, W]; H and W are multiples of `multiple`.
        """

    def forward(self, images: Tensor) -> Tensor:
        """The density map, in people per block: [B, 1, ceil(H / stride), ceil(W / stride)].

        images: [B, 3, H, W] in 0..1, of any size.
        """
        if self.window is None or self.training:
            return self.apply_layers(images, self.density)
        return self._in_windows(images, self.window)

    def apply_layers(self, images: Tensor, layers: Callable[[Tensor], Tensor]) -> Tensor:
        """Normalise and pad images, apply layers, and crop their map to the blocks of the images.

        images: [B, 3, H, W] in 0..1, of any size.
        layers: a function like `density`, whose map may have any number of channels C.
        Returns [B, C, ceil(H / stride), ceil(W / stride)].

        Raises:
            UserError: the size of the map does not fit the stride.
        """
        height, width = images.shape[-2:]
        mean = _per_channel(tuple(self.mean), images.device, images.dtype)
        std = _per_channel(tuple(self.std), images.device, images.dtype)
        right, bottom = -width % self.multiple, -height % self.multiple
        if self.training and len(images) == 1 and max(height, width) <= self.multiple:
            right += self.multiple  # BatchNorm refuses a single value per channel
        maps = _padded_map(layers, images, mean, std, right, bottom)
        blocks = [(height + bottom) // self.stride, (width + right) // self.stride]
        if list(maps.shape[-2:]) != blocks:
            size = " x ".join(map(str, maps.shape[-2:]))
            raise UserError(f"model {self.name}: expected a map of {blocks[0]} x {blocks[1]} "
                            f"blocks of {self.stride} pixels, got {size}; "
                            "check the class attribute stride")
        return maps[..., : math.ceil(height / self.stride), : math.ceil(width / self.stride)]

    @deprecated("Counter.over is now Counter.apply_layers; "
                "the old name will go in the next version", category=FutureWarning)
    def over(self, images: Tensor, layers: Callable[[Tensor], Tensor]) -> Tensor:
        """The old name of `apply_layers`."""
        return self.apply_layers(images, layers)

    def _in_windows(self, images: Tensor, window: int) -> Tensor:
        """The density map counted in square windows that cover the images.

        Where the last windows overlap others, the blocks are averaged.
        """
        height, width = images.shape[-2:]
        blocks = (math.ceil(height / self.stride), math.ceil(width / self.stride))
        total = images.new_zeros(len(images), 1, *blocks)
        times_covered = torch.zeros_like(total)
        tops = _window_starts(height, window, self.stride)
        lefts = _window_starts(width, window, self.stride)
        for top, left in product(tops, lefts):
            view = images[..., top : top + window, left : left + window]
            density = self.apply_layers(view, self.density)
            row, column = top // self.stride, left // self.stride
            rows = slice(row, row + density.shape[-2])
            columns = slice(column, column + density.shape[-1])
            total[..., rows, columns] += density
            times_covered[..., rows, columns] += 1
        return total / times_covered

    def count(self, images: Tensor) -> Tensor:
        """The number of people in each image, float32 [B]: the sum of its density map.

        images: [B, 3, H, W] in 0..1.
        """
        return self(images).float().sum(dim=(1, 2, 3))

    def features(self, images: Tensor) -> Tensor:
        """The input of the last convolution, [B, C, h, w]. See `last_convolution`."""
        return self.last_convolution(images)[1]

    def last_convolution(self, images: Tensor) -> tuple[nn.Conv2d, Tensor]:
        """The convolution that runs last when whole images are counted, and its input [B, C, h, w].

        images: [B, 3, H, W] in 0..1. Layers that behave differently in training run in evaluation
        mode.
        """
        convolutions = {name: module for name, module in self.named_modules()
                        if isinstance(module, nn.Conv2d)}
        calls: deque[tuple[nn.Conv2d, Tensor]] = deque(maxlen=1)

        def note(name: str, arguments: tuple[Tensor, ...], output: Tensor) -> None:
            calls.append((convolutions[name], arguments[0]))

        with in_evaluation_mode(self), watched(convolutions, note):
            self.apply_layers(images, self.density)
        return calls.pop()

    def loss(self, batch: Batch) -> Tensor:
        """The loss of each image, [B]: the squared error summed over its map (CSRNet, eq. 4)."""
        size = batch.images.shape[-2:]
        truth = density_maps(batch.points, batch.sigmas, size, self.stride)
        return (self(batch.images).float() - truth).square().sum(dim=(1, 2, 3))

    def prepare(self, scenes: list[Scene]) -> None:
        """Read from a training set what the counter needs to know of it.

        It is called before each training with the scenes of that training. Most counters need
        nothing.
        """

    def backbone(self) -> nn.Module | None:
        """The pretrained part; None if there is none.

        It is trained at `recipe.backbone_lr_ratio` times the learning rate.
        """
        return None

    def public_state(self) -> dict[str, Tensor]:
        """The tensors under the names of the authors' public code, which can load them."""
        return mapped(self.state_dict(), self.public_names)

    def public_settings(self) -> dict[str, Any]:
        """The settings of this counter that those tensors do not hold, to load them here again."""
        return {}

    def copy(self) -> Self:
        """A counter with the same weights that shares no memory with this one."""
        return copy.deepcopy(self)


@compilable
def _padded_map(layers: Callable[[Tensor], Tensor], images: Tensor, mean: Tensor, std: Tensor,
                right: int, bottom: int) -> Tensor:
    """The map that layers make of images that are normalised and padded."""
    return layers(F.pad((images - mean) / std, (0, right, 0, bottom)))


def _window_starts(side: int, window: int, stride: int) -> list[int]:
    """The first pixel of each window along a side of an image.

    Windows stand next to each other. The last one is moved back to end with the last block.

    >>> _window_starts(1024, 448, 8), _window_starts(300, 448, 8)
    ([0, 448, 576], [0])
    """
    last = max(math.ceil(side / stride) * stride - window, 0)
    return sorted({*range(0, last, window), last})


@cache
def _per_channel(values: tuple[float, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    """Constants for images [B, C, H, W] on a device, [C, 1, 1]. They are copied there only once."""
    with torch.inference_mode(False):  # a tensor of inference mode could not be used in training
        return torch.tensor(values, device=device, dtype=dtype)[:, None, None]
