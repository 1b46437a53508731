"""Data cache: the images and content hashes that the stages of a process share, each read once."""

from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

from benchmark.config.cell import Cell
from benchmark.data.datasets.base import Dataset, Split
from benchmark.data.scene import Scene
from benchmark.data.smallest import describe_small, image_sizes
from benchmark.data.splits import (fingerprint, load_train, training_ids, training_number,
                                   validation_ids)
from benchmark.training.evaluation import TestSplit
from benchmark.utils.hashing import content_key


class DataCache:
    """Splits that are read when they are first asked for, and then kept in memory.

    train(dataset, scale, hold_out), test(dataset, scale), training_number(dataset, hold_out),
    validation_ids(dataset, hold_out), fingerprint(dataset, split) and sizes(dataset, split, scale)
    raise UserError where a split is missing or broken.
    """

    def __init__(self):
        self.train = cache(load_train)
        self.test = cache(TestSplit)
        self.training_number = cache(training_number)
        self.training_ids = cache(training_ids)
        self.validation_ids = cache(validation_ids)
        self.fingerprint = cache(lambda dataset, split: fingerprint(dataset.items(split)))
        self.sizes = cache(image_sizes)

    def __reduce__(self) -> tuple[Any, ...]:
        # Another process reads the images itself, once for all its stages.
        return _of_this_process, ()

    def train_of(self, cell: Cell) -> tuple[list[Scene], list[Scene]]:
        """A cell's clean training scenes and its validation scenes.

        Both are empty where the cell reads no training split.
        """
        if not cell.reads_train:
            return [], []
        return self.train(cell.data.build(), cell.settings.scale, cell.settings.hold_out)

    def test_of(self, cell: Cell) -> TestSplit:
        """A cell's test split."""
        return self.test(cell.data.build(), cell.settings.scale)

    def small_images(self, cells: Iterable[Cell]) -> list[str]:
        """A line for each split with images that are too small for a counter.

        Raises:
            UserError: a split is missing, or an image is broken.
        """
        reads = dict.fromkeys(read for cell in cells for read in _reads(cell))
        lines = [describe_small(self.sizes(dataset, split, scale), model, crop)
                 for dataset, split, scale, model, crop in reads]
        return [line for line in lines if line]

    def splits(self, cell: Cell) -> dict[str, str]:
        """Hashes of a cell's splits, list of validation images, and a defense's extra images."""
        dataset = cell.data.build()
        hashes = {split: self.fingerprint(dataset, split) for split in ("train", "test")}
        hashes["validation"] = content_key(self.validation_ids(dataset, cell.settings.hold_out))
        companion = dataset.companion()
        if cell.defense.build().knows.extra and companion:
            hashes["extra"] = self.fingerprint(companion, "train")
        return hashes


def _reads(cell: Cell) -> Iterator[tuple[Dataset, Split, float, str, float | None]]:
    """The splits that a cell reads, with its scale, its model, and the crop of training views."""
    dataset, scale, model = cell.data.build(), cell.settings.scale, cell.model.name
    companion = dataset.companion()
    yield dataset, "test", scale, model, None
    if cell.reads_train:
        yield dataset, "train", scale, model, cell.recipe.crop
    if cell.defense.build().knows.extra and companion:
        yield companion, "train", scale, model, cell.recipe.crop


@cache
def _of_this_process() -> DataCache:
    return DataCache()
