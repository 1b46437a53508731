"""The three splits: train, validation (held out of train) and test.

Only the evaluation may load the test split.
"""

import hashlib
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import TypeVar

from benchmark.data.datasets.base import Dataset, Item
from benchmark.data.loading import in_threads, read_scenes
from benchmark.data.scene import Scene
from benchmark.utils.errors import UserError, shown
from benchmark.utils.regular_files import check_regular

MOST_BYTES = 2_000_000_000  # of a file; more would be hashed for minutes
Named = TypeVar("Named", Item, Scene)


def load_train(dataset: Dataset, scale: float = 1.0,
               held_out: float = 0.1) -> tuple[list[Scene], list[Scene]]:
    """Return the training and the validation scenes.

    held_out: the share of the training images that become validation images.

    Raises:
        UserError: the split is missing, an image or annotation is broken, or no image is left to
            train on.
    """
    items = dataset.items("train")
    count = validation_number(len(items), held_out)
    if held_out < 0 or count >= len(items):
        raise UserError(f"hold_out = {held_out}: expected a share of at least 0 that leaves some "
                        f"of the {len(items)} training images")
    return hold_out(read_scenes(dataset, items, scale), dataset.name, count)


def validation_ids(dataset: Dataset, held_out: float) -> list[str]:
    """Return the ids of the validation images. Raises UserError if the split is missing."""
    items = dataset.items("train")
    count = validation_number(len(items), held_out)
    _, validation = hold_out(items, dataset.name, count)
    return [item.id for item in validation]


def training_ids(dataset: Dataset, held_out: float) -> list[str]:
    """Return the ids of the images that are trained on. Raises UserError without the split."""
    items = dataset.items("train")
    training, _ = hold_out(items, dataset.name, validation_number(len(items), held_out))
    return [item.id for item in training]


def training_number(dataset: Dataset, held_out: float) -> int:
    """Return how many images are trained on. Raises UserError if the split is missing."""
    images = len(dataset.items("train"))
    return images - validation_number(images, held_out)


def validation_number(images: int, held_out: float) -> int:
    """Return the number of validation images: at least 1 if the share is above 0."""
    return max(round(held_out * images), int(held_out > 0))


def load_test(dataset: Dataset, scale: float = 1.0) -> list[Scene]:
    """Return the test scenes. Raises UserError if the split is missing or broken."""
    return read_scenes(dataset, dataset.items("test"), scale)


def hold_out(items: Sequence[Named], name: str, count: int) -> tuple[list[Named], list[Named]]:
    """Return the training and the validation part, each in the order of `items`.

    The validation part is the `count` items with the smallest hashes. It therefore depends on no
    seed, on no order and on no run.

    name: the name of the dataset. Two datasets with the same ids have different validation parts.
    """
    def rank(item: Named) -> str:
        return hashlib.sha256(f"crowdbench-split-1/{name}/{item.id}".encode()).hexdigest()

    held_out_ids = {item.id for item in sorted(items, key=rank)[:count]}
    training = [item for item in items if item.id not in held_out_ids]
    validation = [item for item in items if item.id in held_out_ids]
    return training, validation


def fingerprint(items: Sequence[Item]) -> str:
    """Return a hash of items, 32 hex digits: their ids, and the bytes of their files, in order."""
    pairs = [(item.image, item.annotation) for item in items]
    paths = list(dict.fromkeys(chain.from_iterable(pairs)))  # images may share a file
    digests = dict(zip(paths, in_threads(_digest, paths)))
    total = hashlib.blake2b(digest_size=16)
    for item in items:
        total.update(repr(item.id).encode() + digests[item.image] + digests[item.annotation])
    return total.hexdigest()


def _digest(path: Path) -> bytes:
    """Return a hash of the bytes of a file. Raises UserError if the file cannot be read."""
    check_regular(path, MOST_BYTES)
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "blake2b").digest()
    except OSError as error:
        raise UserError(f"{shown(path)}: expected a file that can be read: "
                        f"{error.strerror}") from None
