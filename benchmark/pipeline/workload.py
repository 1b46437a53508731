"""What each stage has to do, in pixels: how many images, how large, how often. Known without reading any image."""

import math
from functools import cache
from pathlib import Path

from PIL import Image

from benchmark.config.cell import Cell
from benchmark.data.datasets.base import Dataset, Split
from benchmark.pipeline.stage import Work
from benchmark.utils.device import resolve_precision

LOOKED_AT = 8  # images whose sizes stand for those of a split
CORRUPTIONS = 8  # times that a detector counts an image, until one was measured


def training(cell: Cell, attacked: bool) -> Work:
    """Of the clean counter or the victim."""
    rate = cell.settings.poison_rate + (cell.also.settings.poison_rate if cell.also else 0)
    images = _images(cell, "train") * (1 - cell.settings.hold_out) * (1 + (rate if attacked and cell.trigger else 0))
    return _work(cell, "train", images * cell.recipe.epochs, _validated(cell, cell.recipe.epochs))


def repair(cell: Cell) -> Work:
    """Of a repair: its epochs over the images that it is handed. What else it does is learned from others like it."""
    knows, defense = cell.defense.build().knows, cell.defense.build()
    epochs = getattr(defense, "epochs", None) or cell.recipe.epochs
    every = _images(cell, "train") * (1 - cell.settings.hold_out)
    handed = (every if knows.clean == "all" else knows.clean) + knows.extra + knows.poisoned * every
    return _work(cell, cell.defense.name, handed * epochs, _validated(cell, epochs))


def counting(cell: Cell) -> Work:
    """Of the counts of the test images."""
    return _work(cell, "count", 0, _images(cell, "test"))


def scoring(cell: Cell, triggered: bool | None) -> Work:
    """Of a detector's scores: of the test images, and of them in another light."""
    times = {None: 0, False: 2, True: 1}[triggered]
    return _work(cell, f"{cell.defense.name} {triggered}", 0, CORRUPTIONS * (1 + times * _images(cell, "test")))


def _validated(cell: Cell, epochs: int) -> float:
    """Validation images that a training counts."""
    if cell.recipe.select == "last":
        return 0
    split = "test" if cell.recipe.select == "test" else "train"
    share = 1 if split == "test" else cell.settings.hold_out
    return share * _images(cell, split) * math.ceil(epochs / cell.recipe.validate_every)


def _work(cell: Cell, what: str, trained: float, counted: float) -> Work:
    pixels = _pixels(cell.data.build(), "test", cell.settings.scale)
    crop = cell.recipe.crop
    view = pixels if crop is None else pixels * crop**2 if crop < 1 else float(crop**2)
    return Work((cell.model.title, resolve_precision(cell.recipe.precision), what), trained * view, counted * pixels)


def _images(cell: Cell, split: Split) -> int:
    """Images of a split; an audit may have no training split, and then asks for none."""
    return len(_items(cell.data.build(), split)) if split == "test" or cell.reads_train else 0


@cache
def _items(dataset: Dataset, split: Split) -> list[Path]:
    return [item.image for item in dataset.items(split)]


@cache
def _pixels(dataset: Dataset, split: Split, scale: float) -> float:
    """The mean number of pixels of some images."""
    found = []
    for path in _items(dataset, split)[:LOOKED_AT]:
        with Image.open(path) as image:
            factor = scale * min(1, (dataset.max_side or max(image.size)) / max(image.size))
            found.append(image.width * image.height * factor**2)
    return sum(found) / len(found)
