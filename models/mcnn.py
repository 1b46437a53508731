"""MCNN: three columns with large, medium and small kernels.  Zhang et al., CVPR 2016, fig. 3.

Stride 4. A classic small counter, which starts from scratch. Two public codes have the same columns
and train them on other pixel values: CommissarMa/MCNN-pytorch on values of 0 to 255, and
svishwa/crowdcount-mcnn on grey values of 0 to 255, with a ReLU behind the last convolution. Their
files count here what they count there, except at the right and lower border of an image whose sides
are no multiples of 4: such an image is padded here, and resized or cropped there.
"""

from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from benchmark.recipe import Recipe
from benchmark.registry import register
from benchmark.utils.errors import UserError
from benchmark.weights import FileWeights, checked_weights, mapped, read_state_dict, start_whole
from models.base import Counter

# The channels of each column, by the side of its first kernel in pixels.
COLUMNS = {9: (16, 32, 16, 8), 7: (20, 40, 20, 10), 5: (24, 48, 24, 12)}
GREY = (0.299, 0.587, 0.114)  # shares of red, green and blue in a grey value


def _key_map() -> dict[str, str]:
    """Beginnings of the keys of the public codes -> those of this counter."""
    key_map = {"fuse.0.conv": "output", "fuse.0": "output"}
    for column in range(len(COLUMNS)):
        # In svishwa/crowdcount-mcnn a layer holds its convolution and its ReLU.
        for theirs, ours in {0: 0, 2: 3, 4: 6, 5: 8}.items():
            key_map[f"branch{column + 1}.{theirs}.conv"] = f"columns.{column}.{ours}"
        key_map[f"branch{column + 1}"] = f"columns.{column}"
    return key_map


def _public_names(grey: bool) -> dict[str, str | None]:
    """Beginnings of the keys of this counter -> those of one of the public codes.

    grey: whether of svishwa/crowdcount-mcnn, for grey values, or of CommissarMa/MCNN-pytorch.
    """
    names: dict[str, str | None] = {"output": "fuse.0.conv" if grey else "fuse.0",
                                    "pixel_range": None}
    for theirs, ours in _key_map().items():
        if ours.startswith("columns.") and theirs.endswith(".conv") == grey:
            names[ours] = theirs
    return names


@register
class MCNN(Counter):
    """weights: 'scratch', or the path of a state dict of a whole MCNN, also one of the public codes
        CommissarMa/MCNN-pytorch and svishwa/crowdcount-mcnn (branchN.N, fuse.0).
    pixels: what the first convolutions are given: 'normalised' for colours normalised as for all
        counters, 'rgb' for colours of 0 to 255 as in CommissarMa/MCNN-pytorch, 'grey' for grey
        values of 0 to 255 as in svishwa/crowdcount-mcnn, which also has a ReLU at the end. None is
        'normalised', but a file with the names of the public codes needs one of the three words.
    """

    paper = "Zhang et al., MCNN, CVPR 2016"
    stride = 4
    multiple = 4
    trained_parameters = 133_705
    recipe = Recipe(epochs=100, batch_size=1, optimizer="adam", lr=1e-5, flip=True)
    public_code = "CommissarMa/MCNN-pytorch"
    public_note = ("With pixels=grey the names are those of svishwa/crowdcount-mcnn. Both codes "
                   "take values of 0 to 255; with pixels=normalised give them normalised images.")
    later_settings = ("weights", "pixels")

    def __init__(self, weights: FileWeights = "scratch",
                 pixels: Literal["normalised", "rgb", "grey"] | None = None):
        super().__init__()
        self.pixels = pixels or "normalised"
        added = {}
        if self.pixels != "normalised":
            self.mean, self.std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
            # A stored counter has it among its weights, so that they are taken for no others.
            self.register_buffer("pixel_range", torch.tensor(255.0))
            added["pixel_range"] = self.pixel_range
        inputs = 1 if self.pixels == "grey" else 3
        self.columns = nn.ModuleList(_column(inputs, *column) for column in COLUMNS.items())
        self.output = nn.Conv2d(sum(channels[-1] for channels in COLUMNS.values()), 1, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.01)
                nn.init.zeros_(module.bias)
        weights = checked_weights(weights, "scratch")
        if pixels is None and isinstance(weights, Path):
            _check_pixels(weights)
        self.weights_note = start_whole(self, weights, _key_map(), added)

    def public_state(self) -> dict[str, Tensor]:
        """The tensors under the names of CommissarMa/MCNN-pytorch.

        A counter of grey values has those of svishwa/crowdcount-mcnn.
        """
        return mapped(self.state_dict(), _public_names(self.pixels == "grey"))

    def public_settings(self) -> dict[str, Any]:
        """The colours of the images that it counts, which files of the public codes do not hold."""
        return {"pixels": self.pixels}

    def density(self, images: Tensor) -> Tensor:
        if self.pixels != "normalised":
            images = images * self.pixel_range
        if self.pixels == "grey":
            images = (images * images.new_tensor(GREY)[:, None, None]).sum(dim=1, keepdim=True)
        density = self.output(torch.cat([column(images) for column in self.columns], dim=1))
        return density.relu() if self.pixels == "grey" else density


def _check_pixels(path: Path) -> None:
    """Refuse the file of a public code where nobody says what its pixels are. Raises UserError."""
    tensors = read_state_dict(path)
    firsts = [key for key in tensors if key.endswith(("branch1.0.weight", "branch1.0.conv.weight",
                                                      "columns.0.0.weight"))]
    if not firsts or not ("branch1" in firsts[0] or any("pixel_range" in key for key in tensors)):
        return
    words = ("grey" if tensors[firsts[0]].shape[1:2] == (1,)
             else "rgb, or normalised if it was trained on normalised images")
    raise UserError(f"weights {path}: {firsts[0][:200]!r}: a public MCNN is given pixel values of "
                    f"0 to 255; expected model.pixels={words}")


def _column(inputs: int, kernel: int, channels: tuple[int, ...]) -> nn.Sequential:
    """Four convolutions, the first with a larger kernel, and two pools: stride 4."""
    first, second, third, last = channels
    inner = kernel - 2
    return nn.Sequential(
        nn.Conv2d(inputs, first, kernel, padding="same"), nn.ReLU(inplace=True), nn.MaxPool2d(2),
        nn.Conv2d(first, second, inner, padding="same"), nn.ReLU(inplace=True), nn.MaxPool2d(2),
        nn.Conv2d(second, third, inner, padding="same"), nn.ReLU(inplace=True),
        nn.Conv2d(third, last, inner, padding="same"), nn.ReLU(inplace=True))
