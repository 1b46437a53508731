"""Data check: read a whole dataset and list what is missing, broken or suspicious in it.

This is the command `crowdbench data check`.
"""

import hashlib
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from typing import Any, get_args

import numpy as np

from benchmark.data.datasets.base import Dataset, Item, Split
from benchmark.data.image_files import pixel_limit, scaled_size
from benchmark.data.loading import in_threads, read_image
from benchmark.data.smallest import smallest_for_all
from benchmark.utils.errors import UserError, shown


@dataclass
class SplitReport:
    """The findings in one split. Only images that can be read are counted.

    missing: what was expected and where to get it, if the split is missing or its files do not
        belong together. The other fields are empty then.
    sizes: the distinct sizes as WxH in pixels, in ascending order of their areas.
    unreadable: an error message for each image that cannot be read.
    small: for each image id, the size as WxH, after `max_side`, of an image that is too small for
        some counter.
    outside: for each image id, the number of points outside the image.
    repeated: for each image id, the number of points that are exact copies of another.
    """

    missing: str = ""
    images: int = 0
    people: int = 0
    count_min: int = 0
    count_mean: float = 0.0
    count_max: int = 0
    sizes: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    small: dict[str, str] = field(default_factory=dict)
    outside: dict[str, int] = field(default_factory=dict)
    repeated: dict[str, int] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """Return the findings as lines of text."""
        if self.missing:
            return [f"not usable: {self.missing}"]
        if not self.images and not self.unreadable:
            return ["no images: expected at least one"]
        sizes = " to ".join(dict.fromkeys(self.sizes[:1] + self.sizes[-1:])) or "none readable"
        lines = [f"{self.images} images, {sizes}; {self.people} people, "
                 f"{self.count_min} to {self.count_max} per image, mean {self.count_mean:.1f}"]
        if self.outside:
            points = _points(self.outside)
            lines.append(f"{points} outside the image: they are moved to its border when read")
        if self.repeated:
            points = _points(self.repeated)
            lines.append(f"{points} that repeat another point exactly: each counts as a person")
        side = smallest_for_all()
        lines += [f"too small: {id} is read as {size} pixels; expected at least {side}x{side}, "
                  "which suits every counter" for id, size in self.small.items()]
        return lines + [f"unreadable: {error}" for error in self.unreadable]


@dataclass
class DatasetReport:
    """The findings in a dataset.

    equal: groups of images with the same pixels, each as ['train/IMG_1', 'train/IMG_2'].
    leaks: the groups with images of more than one split.
    """

    dataset: str
    settings: dict[str, Any]
    splits: dict[str, SplitReport]
    equal: list[list[str]]
    leaks: list[list[str]]

    @property
    def ok(self) -> bool:
        """Whether the dataset is complete and all of it can be read and trained on."""
        return not any(split.missing or split.unreadable or split.small or not split.images
                       for split in self.splits.values())

    def text(self) -> str:
        """Return the findings as text: the lines of each split, then the equal images."""
        settings = [shown(f"{key}={value}") for key, value in self.settings.items()
                    if value is not None]
        lines = [" ".join([self.dataset, *settings])]
        for name, split in self.splits.items():
            lines += [f"{name:7}{line}" for line in split.lines()]
        lines += [f"equal  {' = '.join(group)}" for group in self.equal if group not in self.leaks]
        lines += [f"leak   {' = '.join(group)}" for group in self.leaks]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return the findings as plain values, ready for JSON."""
        return asdict(self)


def check(dataset: Dataset) -> DatasetReport:
    """Read every image and annotation of a dataset.

    Missing and broken files are findings and do not stop the check.

    Raises:
        UserError: the folder of the dataset is missing, or the limit of pixels is no number.
    """
    dataset.folder()
    pixel_limit()
    splits: dict[str, SplitReport] = {}
    names_by_pixels = defaultdict(list)
    for split in get_args(Split):
        try:
            items = dataset.items(split)
        except UserError as error:
            splits[split] = SplitReport(missing=str(error))
            continue
        results = in_threads(lambda item: _examine(dataset, item), items, f"check {split}")
        errors = [str(result) for result in results if isinstance(result, UserError)]
        images = [result for result in results if isinstance(result, _ImageFacts)]
        splits[split] = _summary(images, errors)
        for image in images:
            names_by_pixels[image.size, image.pixels].append(f"{split}/{image.id}")
    equal = [group for group in names_by_pixels.values() if len(group) > 1]
    leaks = [group for group in equal if _is_leak(group)]
    return DatasetReport(dataset.name, dataset.model_dump(mode="json"), splits, equal, leaks)


@dataclass(frozen=True)
class _ImageFacts:
    """The properties of one image and its annotation.

    size: (W, H) in pixels, as displayed. read_size: the same after `max_side`. pixels: a hash of
    them. outside, repeated: as in `SplitReport`.
    """

    id: str
    size: tuple[int, int]
    read_size: tuple[int, int]
    count: int
    outside: int
    repeated: int
    pixels: bytes


def _examine(dataset: Dataset, item: Item) -> _ImageFacts | UserError:
    """Return the properties of an image, or the error if it cannot be read."""
    try:
        image = read_image(item.image)
        points = dataset.points(item)
    except UserError as error:
        return error
    size = image.shape[1], image.shape[0]
    outside = ((points < 0) | (points >= size)).any(axis=1)
    repeated = len(points) - len(np.unique(points, axis=0))
    pixels = hashlib.blake2b(image).digest()
    read_size = scaled_size(size, 1.0, dataset.max_side)
    return _ImageFacts(item.id, size, read_size, len(points), int(outside.sum()), repeated, pixels)


def _summary(images: list[_ImageFacts], unreadable: list[str]) -> SplitReport:
    """Return the findings in a split of which these images can be read."""
    if not images:
        return SplitReport(unreadable=unreadable)
    counts = [image.count for image in images]
    sizes = sorted({image.size for image in images}, key=lambda size: (size[0] * size[1], size))
    side = smallest_for_all()
    return SplitReport(
        images=len(images), people=sum(counts), count_min=min(counts),
        count_mean=sum(counts) / len(counts), count_max=max(counts),
        sizes=list(map(_text, sizes)), unreadable=unreadable,
        small={image.id: _text(image.read_size) for image in images if min(image.read_size) < side},
        outside={image.id: image.outside for image in images if image.outside},
        repeated={image.id: image.repeated for image in images if image.repeated})


def _text(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _is_leak(group: list[str]) -> bool:
    """Whether images such as 'train/IMG_1' are of more than one split."""
    return len({name.partition("/")[0] for name in group}) > 1


def _points(by_image: dict[str, int]) -> str:
    return f"{sum(by_image.values())} points in {len(by_image)} images"
