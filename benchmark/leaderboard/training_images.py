"""Training images: the ids that a frozen grid's training and validation images have.

They follow from the settings of the data, whose numbering is fixed, and from the list of validation
images, which depends on nothing but the ids. So no image has to be on this machine.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from benchmark.data.datasets.base import Item
from benchmark.data.splits import hold_out, validation_number
from benchmark.leaderboard.grid_slots import GridSlot

SHANGHAITECH = {"A": 300, "B": 400}  # training images of each part


@dataclass(frozen=True)
class TrainingImages:
    """The ids of the images that counters are trained on, and the number of validation images."""

    ids: frozenset[str]
    validation: int


def training_images(slot: GridSlot) -> TrainingImages | None:
    """The training images of a slot; None where the settings of its data do not determine them."""
    settings = slot.settings
    number = _number(settings["data.name"], settings)
    if number is None:
        return None
    return numbered_images(settings["data.name"], number, settings["training.hold_out"])


def _number(dataset: str, settings: dict[str, Any]) -> int | None:
    """The number of images in the training split of a dataset whose images are IMG_1, IMG_2, ..."""
    part = settings.get("data.resolved.part")
    if dataset == "shanghaitech":
        return SHANGHAITECH[part]
    if dataset == "synthetic":
        of_part_b = settings["data.resolved.train"]
        return of_part_b if part == "B" else max(of_part_b // 4, 1)
    return None


@cache
def numbered_images(dataset: str, number: int, share: float) -> TrainingImages:
    """The training images of a dataset with the images IMG_1, IMG_2, ... in its training split.

    share: that of the validation images.
    """
    every = [Item(f"IMG_{i}", Path(), Path()) for i in range(1, number + 1)]
    training, validation = hold_out(every, dataset, validation_number(number, share))
    return TrainingImages(frozenset(image.id for image in training), len(validation))
