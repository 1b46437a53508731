"""What is in a dataset and what is wrong with it: `crowdbench data check`."""

import hashlib
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from typing import Any, get_args

import numpy as np

from benchmark.data.datasets.base import Dataset, Item, Split
from benchmark.data.loading import in_threads, read_image
from benchmark.utils.errors import UserError


@dataclass
class SplitReport:
    """The findings in one split. Images and people are those that can be read."""

    missing: str = ""  # what was expected and where to get it; then the rest is empty
    images: int = 0
    people: int = 0
    count_min: int = 0
    count_mean: float = 0.0
    count_max: int = 0
    sizes: list[str] = field(default_factory=list)  # the distinct ones, WxH pixels, the smallest area first
    unreadable: list[str] = field(default_factory=list)
    outside: dict[str, int] = field(default_factory=dict)  # image id -> points outside the image
    repeated: dict[str, int] = field(default_factory=dict)  # image id -> exact copies of other points

    def lines(self) -> list[str]:
        """The findings, for people."""
        if self.missing:
            return [f"missing: {self.missing}"]
        sizes = " to ".join(dict.fromkeys(self.sizes[:1] + self.sizes[-1:])) or "none readable"
        lines = [f"{self.images} images, {sizes}; {self.people} people, "
                 f"{self.count_min} to {self.count_max} per image, mean {self.count_mean:.1f}"]
        if self.outside:
            lines.append(f"{_points(self.outside)} outside the image: moved to its border when read")
        if self.repeated:
            lines.append(f"{_points(self.repeated)} that repeat another exactly: people, and they count")
        return lines + [f"unreadable: {error}" for error in self.unreadable]


@dataclass
class Report:
    """The findings in a dataset.

    equal: groups of images with the same pixels, each as ['train/IMG_1', 'train/IMG_2'].
    leaks: those of the groups that reach over splits.
    """

    dataset: str
    settings: dict[str, Any]
    splits: dict[str, SplitReport]
    equal: list[list[str]]
    leaks: list[list[str]]

    @property
    def ok(self) -> bool:
        """Whether all of it is there and can be read."""
        return not any(split.missing or split.unreadable for split in self.splits.values())

    def text(self) -> str:
        """For people: a block of lines per split, then the equal images."""
        blocks = {split: report.lines() for split, report in self.splits.items()}
        blocks["equal"] = [" = ".join(group) for group in self.equal if group not in self.leaks]
        blocks["leak"] = [" = ".join(group) for group in self.leaks]
        settings = [f"{key}={value}" for key, value in self.settings.items() if value is not None]
        title = " ".join([self.dataset, *settings])
        return "\n".join([title, *(f"{name:7}{line}" for name, lines in blocks.items() for line in lines)])

    def to_dict(self) -> dict[str, Any]:
        """For machines: plain values, ready for JSON."""
        return asdict(self)


def check(dataset: Dataset) -> Report:
    """Read every image and annotation of a dataset. What is missing or broken is a finding and stops nothing.

    Raises:
        UserError: there is no folder to look into.
    """
    dataset.folder()
    splits, same = {}, defaultdict(list)
    for split in get_args(Split):
        try:
            items = dataset.items(split)
        except UserError as error:
            splits[split] = SplitReport(missing=str(error))
            continue
        examined = in_threads(lambda item: _examine(dataset, item), items, f"check {split}")
        facts = [one for one in examined if isinstance(one, _Facts)]
        splits[split] = _summary(facts, [str(error) for error in examined if isinstance(error, UserError)])
        for one in facts:
            same[one.size, one.pixels].append(f"{split}/{one.id}")
    equal = [group for group in same.values() if len(group) > 1]
    leaks = [group for group in equal if len({name.partition("/")[0] for name in group}) > 1]
    return Report(dataset.name, dataset.model_dump(mode="json"), splits, equal, leaks)


@dataclass(frozen=True)
class _Facts:
    """What one image and its annotation show."""

    id: str
    size: tuple[int, int]  # (W, H) pixels, as displayed
    count: int
    outside: int
    repeated: int
    pixels: bytes  # a hash


def _examine(dataset: Dataset, item: Item) -> _Facts | UserError:
    try:
        image, points = read_image(item.image), dataset.points(item)
    except UserError as error:
        return error
    size = image.shape[1::-1]
    outside = ((points < 0) | (points >= size)).any(axis=1)
    repeated = len(points) - len(np.unique(points, axis=0))
    return _Facts(item.id, size, len(points), int(outside.sum()), repeated, hashlib.blake2b(image).digest())


def _summary(facts: list[_Facts], unreadable: list[str]) -> SplitReport:
    if not facts:
        return SplitReport(unreadable=unreadable)
    counts = [one.count for one in facts]
    sizes = sorted({one.size for one in facts}, key=lambda size: (size[0] * size[1], size))
    return SplitReport(images=len(facts), people=sum(counts), count_min=min(counts),
                       count_mean=sum(counts) / len(counts), count_max=max(counts),
                       sizes=[f"{width}x{height}" for width, height in sizes], unreadable=unreadable,
                       outside={one.id: one.outside for one in facts if one.outside},
                       repeated={one.id: one.repeated for one in facts if one.repeated})


def _points(by_image: dict[str, int]) -> str:
    return f"{sum(by_image.values())} points in {len(by_image)} images"
