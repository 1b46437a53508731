"""The three splits: train, validation held out of it, and test. Only evaluation may load the test split."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from benchmark.data.datasets.base import Dataset, Item
from benchmark.data.loading import in_threads, read_scenes
from benchmark.data.scene import Scene
from benchmark.utils.errors import UserError

Named = TypeVar("Named", Item, Scene)


def load_train(dataset: Dataset, scale: float = 1.0, held_out: float = 0.1) -> tuple[list[Scene], list[Scene]]:
    """The training and the validation scenes; `held_out` is the share of the training images that validate.

    Raises:
        UserError: the split is not there, an image or annotation is broken, or no image is left to train on.
    """
    items = dataset.items("train")
    count = _held(len(items), held_out)
    if held_out < 0 or count >= len(items):
        raise UserError(f"held_out = {held_out}: expected a share of the {len(items)} training images that leaves some")
    return hold_out(read_scenes(dataset, items, scale), dataset.name, count)


def validation_ids(dataset: Dataset, held_out: float) -> list[str]:
    """The ids of the images that validate. Raises UserError where the split is not there."""
    items = dataset.items("train")
    return [item.id for item in hold_out(items, dataset.name, _held(len(items), held_out))[1]]


def training_number(dataset: Dataset, held_out: float) -> int:
    """How many images are trained on. Raises UserError where the split is not there."""
    images = len(dataset.items("train"))
    return images - _held(images, held_out)


def _held(images: int, held_out: float) -> int:
    return max(round(held_out * images), int(held_out > 0))


def load_test(dataset: Dataset, scale: float = 1.0) -> list[Scene]:
    """The test scenes. Raises UserError where the split is not there or broken."""
    return read_scenes(dataset, dataset.items("test"), scale)


def hold_out(items: Sequence[Named], name: str, count: int) -> tuple[list[Named], list[Named]]:
    """The training and the validation part, each in the order of `items`.

    Validation is the `count` items whose hashes are smallest: no seed, no order and no run changes the list.
    name: of the dataset, so that two datasets with equal ids hold out differently.
    """
    def rank(item: Named) -> str:
        return hashlib.sha256(f"crowdbench-split-1/{name}/{item.id}".encode()).hexdigest()

    held = {item.id for item in sorted(items, key=rank)[:count]}
    return [item for item in items if item.id not in held], [item for item in items if item.id in held]


def fingerprint(items: Sequence[Item]) -> str:
    """A hash, 32 hex digits, of what the items are: ids and the bytes of images and annotations, in order."""
    paths = list(dict.fromkeys(path for item in items for path in (item.image, item.annotation)))
    digests = dict(zip(paths, in_threads(_digest, paths)))
    total = hashlib.blake2b(digest_size=16)
    for item in items:
        total.update(repr(item.id).encode() + digests[item.image] + digests[item.annotation])
    return total.hexdigest()


def _digest(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "blake2b").digest()
    except OSError as error:
        raise UserError(f"{path}: expected a file that can be read: {error.strerror}") from None
