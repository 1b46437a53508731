"""The workload of each stage in pixels: the number of images, their size, how often each is used.

No image is decoded to know it.
"""

import math
from functools import cache
from pathlib import Path

from benchmark.config.cell import Cell
from benchmark.data.datasets.base import Dataset, Split
from benchmark.data.image_files import image_size
from benchmark.pipeline.stage import Work
from benchmark.utils.device import resolve_precision

SAMPLE = 8  # images whose mean size is taken for that of a split
CORRUPTIONS = 8  # times that a detector is assumed to count each image, until one was measured


def training(cell: Cell, attacked: bool) -> Work:
    """The work of training the clean counter or the victim."""
    rate = cell.settings.added + (cell.also.settings.added if cell.also else 0)
    images = _trained(cell)
    if attacked and cell.trigger:
        images *= 1 + rate
    return _work(cell, "train", images * cell.recipe.epochs, _validated(cell, cell.recipe.epochs))


def repair(cell: Cell) -> Work:
    """The work of a repair: its epochs over the images that it is given.

    Anything else is learned from finished repairs.
    """
    knows, defense = cell.defense.build().knows, cell.defense.build()
    times = getattr(defense, "times", 1)  # of `retrain`
    epochs = getattr(defense, "epochs", None) or round(times * cell.recipe.epochs)
    images = _clean(cell) + knows.extra + knows.poisoned * _trained(cell)
    return _work(cell, cell.defense.name, images * epochs, _validated(cell, epochs))


def counting(cell: Cell) -> Work:
    """The work of counting the test images."""
    return _work(cell, "count", 0, _images(cell, "test"))


def scoring(cell: Cell, triggered: bool | None) -> Work:
    """The work of a detector's scores, for clean test images also in another light.

    triggered: None for the score of a counter, which takes the clean images that the defense has,
        and its epochs over them, if it searches for something.
    """
    if triggered is None:
        images, searched = _clean(cell), getattr(cell.defense.build(), "epochs", 0)
    else:
        images, searched = _images(cell, "test") * (1 if triggered else 2), 0
    return _work(cell, f"{cell.defense.name} {triggered}", images * searched, CORRUPTIONS * images)


def _trained(cell: Cell) -> float:
    """The number of training images that are not held out."""
    return _images(cell, "train") * (1 - cell.settings.hold_out)


def _clean(cell: Cell) -> float:
    """The number of clean images that a cell's defense is given."""
    clean = cell.defense.build().knows.clean
    return _trained(cell) if clean == "all" else clean


def _validated(cell: Cell, epochs: int) -> float:
    """The number of images that a training counts to choose its epoch."""
    if cell.recipe.select == "last":
        return 0
    times = math.ceil(epochs / cell.recipe.validate_every)
    if cell.recipe.select == "test":
        return times * _images(cell, "test")
    return times * cell.settings.hold_out * _images(cell, "train")


def _work(cell: Cell, kind: str, trained: float, counted: float) -> Work:
    """The work of a kind. trained, counted: numbers of images trained on and counted."""
    pixels = _pixels(cell.data.build(), "test", cell.settings.scale)
    crop, view = cell.recipe.crop, pixels
    if crop is not None:
        view = pixels * crop**2 if crop < 1 else float(crop**2)
    sort = (cell.model.title, resolve_precision(cell.recipe.precision), kind)
    return Work(sort, trained * view, counted * pixels)


def _images(cell: Cell, split: Split) -> int:
    """The number of images of a split. An audit may have no training split, and then reads none."""
    return len(_items(cell.data.build(), split)) if split == "test" or cell.reads_train else 0


@cache
def _items(dataset: Dataset, split: Split) -> list[Path]:
    return [item.image for item in dataset.items(split)]


@cache
def _pixels(dataset: Dataset, split: Split, scale: float) -> float:
    """The mean number of pixels of the first images of a split."""
    areas = [math.prod(image_size(path, scale, dataset.max_side))
             for path in _items(dataset, split)[:SAMPLE]]
    return sum(areas) / len(areas)
