"""Patchwork: a new counter learns the victim's maps of a few clean images, in ever new patchworks.

A design of this project. The student starts from its initial weights and is trained with

    min  sum over the blocks of (student(o(p(x))) - p(m))^2,    m = victim(x) c / sum of victim(x)

for clean images x with c people. A patchwork p lays parts of the images over others, and the same
parts of their maps over the other maps. People add up, so the map of a patchwork is the patchwork
of the maps, and the victim is never asked about a patchwork. Forty images make thousands of
different ones, with labels that are smoother than annotated points. With probability 1/2 a faint
random picture o, which shows nobody, is blended over an image.

The backdoor should not come along, because the student has never had it and the victim is asked
only about clean images. A clean image that is shrunk and smoothed can resemble the trigger all the
same. So each map is scaled to the annotated count (`m` above). With `maps=annotated`, as a control,
the maps are those of the annotated points, and no victim is asked.

The patches are those of CutMix (Yun et al., ICCV 2019), with maps in place of class labels. Beyer
et al. (Knowledge distillation: a good teacher is patient and consistent, CVPR 2022) found that
students profit from long training on unusual views of few images.
"""

from functools import partial
from typing import Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor
from torch.nn import functional as F

from benchmark.data.batches import Batch
from benchmark.data.density import density_maps
from benchmark.registry import register
from defenses.base import Defense, Knowledge, Knows
from defenses.parts.filtering import annotated_counts
from defenses.parts.overlays import random_overlays
from defenses.parts.patches import patched
from models.base import Counter

LARGEST_FACTOR = 2.0  # a map is scaled by at most this, and at least by its inverse


@register
class Patchwork(Defense):
    """The student is trained from its initial weights with the victim's recipe.

    images: number of clean images.
    epochs: number of passes over them.
    patches: largest number of patches that are laid over an image.
    zoom: largest factor by which a batch is enlarged or shrunk, each with probability 1/2; 1 keeps
        its size.
    alpha: largest share of a random picture in the mix, which each image has with probability 1/2.
    maps: 'victim', or 'annotated' as a control.
    """

    images: PositiveInt = 40
    epochs: PositiveInt = 400
    patches: PositiveInt = 4
    zoom: float = Field(1.33, ge=1, le=4)
    alpha: float = Field(0.15, ge=0, lt=1)
    maps: Literal["victim", "annotated"] = "victim"

    @property
    def knows(self) -> Knows:
        return Knows(clean=self.images, victim=self.maps == "victim")

    def apply(self, victim: Counter | None, knowledge: Knowledge) -> Counter:
        student = knowledge.trainer.fresh()
        maps_of = (partial(annotated_maps, student.stride) if victim is None
                   else partial(victims_maps, victim.copy().eval()))

        def loss(counter: Counter, batch: Batch) -> Tensor:
            batch = self.zoomed(batch)
            images, maps = patched(batch.images, maps_of(batch), counter.stride, self.patches)
            return (counter(self.overlaid(images)).float() - maps).square().sum(dim=(1, 2, 3))

        knowledge.trainer.fit(student, knowledge.clean, loss=loss, epochs=self.epochs)
        return student

    def zoomed(self, batch: Batch) -> Batch:
        """The batch, with probability 1/2 enlarged or shrunk by a random factor."""
        if torch.rand(()) < 0.5:
            return batch
        factor = self.zoom ** float(2 * torch.rand(()) - 1)
        old = batch.images.shape[-2:]
        size = [max(1, round(side * factor)) for side in old]
        images = F.interpolate(batch.images, size, mode="bilinear", antialias=True)
        x, y = size[1] / old[1], size[0] / old[0]
        return Batch(images, [torch.stack([points[:, 0] * x, points[:, 1] * y], dim=1)
                              for points in batch.points], [sigmas * x for sigmas in batch.sigmas])

    def overlaid(self, images: Tensor) -> Tensor:
        """The images [B, 3, H, W], each with probability 1/2 under a faint random picture."""
        pictures = random_overlays(len(images), images.shape[-2:], torch.default_generator)
        shares = self.alpha * torch.rand(len(images)) * (torch.rand(len(images)) < 0.5)
        return images.lerp(pictures.to(images), shares.to(images)[:, None, None, None])


def victims_maps(victim: Counter, batch: Batch) -> Tensor:
    """The victim's density maps of a batch, [B, 1, h, w], scaled to the annotated counts."""
    with torch.no_grad():
        return with_counts(victim(batch.images).float(), annotated_counts(batch))


def annotated_maps(stride: int, batch: Batch) -> Tensor:
    """The density maps of the annotated points of a batch, [B, 1, h, w]."""
    return density_maps(batch.points, batch.sigmas, batch.images.shape[-2:], stride)


def with_counts(maps: Tensor, counts: Tensor) -> Tensor:
    """Density maps [B, 1, h, w] that are scaled to counts [B]."""
    factors = counts / maps.sum(dim=(1, 2, 3)).clamp(min=1e-3)
    return maps * factors.clamp(1 / LARGEST_FACTOR, LARGEST_FACTOR)[:, None, None, None]
