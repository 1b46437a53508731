"""Blockwise classification: what counters that classify blocks by their number of people share.

Ma, Sanchez, Guha, arXiv 2403.09281: bins of counts, an anchor for each bin, the density as the
expected anchor, and the DACE loss.
"""

import math
from abc import abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmark.data.batches import Batch
from benchmark.data.density import dot_maps
from benchmark.data.scene import Scene
from benchmark.utils.errors import UserError
from benchmark.weights import WHOLE, described, load_tensors
from models.base import Counter
from models.parts.transport import distribution_matching

BINS = 5  # blocks with 0, 1, 2, 3, and 4 people or more
LAST = BINS - 1  # the last bin: blocks with this many people or more


class BlockwiseCounter(Counter):
    """A counter that classifies each block by the number of people in it.

    A subclass writes `logits`.

    last_anchor: number of people that stands for the last bin. None takes the mean count of the
        blocks of that bin in the training set.
    ot_weight: weight of the transport in the loss.
    """

    may_be_negative = False  # a mean of counts

    def __init__(self, last_anchor: float | None, ot_weight: float):
        super().__init__()
        self.ot_weight = ot_weight
        self.register_buffer("anchors", torch.tensor([*range(LAST), last_anchor or math.nan]))

    def public_settings(self) -> dict[str, Any]:
        """The anchor of the last bin, which files of the public code do not hold."""
        return {"last_anchor": float(self.anchors[LAST])}

    @abstractmethod
    def logits(self, images: Tensor) -> Tensor:
        """The logits of the bins for each block, float32 [B, bins, H / 8, W / 8].

        images: normalised, [B, 3, H, W].
        """

    def load_whole(self, tensors: dict[str, Tensor], path: Path,
                   in_file: Iterable[str] | None = None) -> str:
        """Load a whole counter from the tensors of a file, and return the note on its weights.

        Files of the public code hold no anchors. They need the setting `last_anchor`.
        in_file: see `load_tensors`.

        Raises:
            UserError: the last anchor is unknown, or the tensors are not those of this counter.
        """
        tensors = {"anchors": self.anchors} | tensors
        if tensors["anchors"].isnan().any():
            raise UserError(f"weights {path}: the file has no anchors; expected "
                            "model.last_anchor=NUMBER with the anchor of its training")
        load_tensors(self, tensors, str(path), in_file)
        return f"{WHOLE}: {described(path)}"

    def expected(self, logits: Tensor) -> Tensor:
        """The expected number of people per block, [B, 1, h, w], from logits [B, bins, h, w]."""
        return F.conv2d(logits.softmax(dim=1), self.anchors[None, :, None, None])

    def density(self, images: Tensor) -> Tensor:
        logits = self.logits(images)
        with torch.autocast(images.device.type, enabled=False):
            return self.expected(logits)

    def loss(self, batch: Batch) -> Tensor:
        """DACE, the loss of each image, [B].

        It is the cross entropy summed over the blocks plus the loss of DM-Count on the expected
        density.
        """
        logits = self.apply_layers(batch.images, self.logits)
        dots = dot_maps(batch.points, batch.images.shape[-2:], self.stride)
        bins = dots[:, 0].clamp(max=LAST).long()
        with torch.autocast(batch.images.device.type, enabled=False):
            entropy = F.cross_entropy(logits, bins, reduction="none").sum(dim=(1, 2))
            matching = distribution_matching(self.expected(logits), batch.points, self.stride,
                                             self.ot_weight, dots=dots)
        return entropy + matching

    def prepare(self, scenes: list[Scene]) -> None:
        """Set the last anchor, unless it is known: the mean count of the blocks in the last bin."""
        if not self.anchors.isnan().any():
            return
        counts_per_scene = []
        for scene in scenes:
            counts = dot_maps([torch.tensor(scene.points)], scene.size, self.stride).flatten()
            counts_per_scene.append(counts[counts >= LAST])
        counts = torch.cat(counts_per_scene)
        self.anchors[LAST] = counts.mean() if len(counts) else float(LAST)


def doubled(features: Tensor) -> Tensor:
    """A map [B, C, h, w] at twice the size, [B, C, 2 h, 2 w], as the public code doubles it.

    It is bilinear between the centres of the blocks; the corners are not aligned.
    """
    return F.interpolate(features, scale_factor=2, mode="bilinear")
