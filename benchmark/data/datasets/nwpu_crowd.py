"""NWPU-Crowd: 5109 web images, from empty scenes to crowds of 20 033 people.

Wang et al., NWPU-Crowd: A Large-Scale Benchmark for Crowd Counting and Localization, TPAMI 2020.
"""

from pathlib import Path
from typing import ClassVar

import numpy as np
from pydantic import PositiveInt

from benchmark.data.datasets.base import Dataset, Item, Published, Split
from benchmark.data.datasets.parts.folders import entries, find_folder
from benchmark.data.datasets.parts.pairs import (annotation_files, image_files, matched, pair,
                                                 stem)
from benchmark.data.datasets.parts.points import as_points, mat_points
from benchmark.data.datasets.parts.rows import rows_of
from benchmark.registry import register
from benchmark.utils.errors import UserError, shown
from benchmark.utils.strict_json import InvalidFile, parse, read_bytes

HOMES = ("NWPU-Crowd", "NWPU")
IMAGES = ("images", *(f"images_part{number}" for number in range(1, 6)))
LISTS: dict[Split, str] = {"train": "train.txt", "test": "val.txt"}


@register
class NwpuCrowd(Dataset):
    """The official layout: images/0001.jpg, mats/0001.mat, and the ids of a split in train.txt.

    The images may also be in images_part1 to images_part5, as its archives hold them, and the
    points in jsons/0001.json. The points of its test split are not public: val.txt is the test
    split here.

    max_side: the largest side in pixels. Without a limit, the training images would take 66 GB of
        memory; with this one they take 15 GB.
    """

    where: ClassVar[str] = ("download images_part1 to images_part5, mats, train.txt and val.txt "
                            "from https://www.crowdbenchmark.com/nwpucrowd.html")
    licence: ClassVar[str] = "for academic and non-commercial use, says its readme"
    published: ClassVar[tuple[Published, ...]] = (Published({"train": 3109, "test": 500}),)
    max_side: PositiveInt | None = 1536

    def items(self, split: Split) -> list[Item]:
        root = self.folder()
        images = self._images(root)
        annotations = self._annotations(root)
        path = self._list(root, next(iter(annotations.values())), LISTS[split])
        ids = {row[0] for row in rows_of(path)}
        if not ids:
            raise UserError(f"{shown(path)}: expected the ids of images, found none")
        named, annotated = matched(ids, images), matched(ids, annotations)
        absent = sorted(ids - named.keys())
        if absent:
            raise UserError(f"{shown(path)}: {shown(absent[0])}: expected an image of this name in "
                            f"{shown(root)}; {len(absent)} of {len(ids)} are missing")
        return pair({id: images[name] for id, name in named.items()},
                    {id: annotations[name] for id, name in annotated.items()})

    def points(self, item: Item) -> np.ndarray:
        if item.annotation.suffix.lower() == ".mat":
            return mat_points(item.annotation, "annPoints", lambda mat: mat["annPoints"])
        try:
            table = parse(read_bytes(item.annotation))
        except InvalidFile as error:
            raise UserError(f"{shown(item.annotation)}: expected JSON: {shown(error)}") from None
        if not isinstance(table, dict) or not isinstance(table.get("points"), list):
            raise UserError(f'{shown(item.annotation)}: expected {{"points": [[x, y], ...]}}')
        return as_points(table["points"], item.annotation)

    def _images(self, root: Path) -> dict[str, Path]:
        """Return the images in all folders of images. Raises UserError if there is none."""
        images: dict[str, Path] = {}
        for folder in filter(None, (find_folder(root, [name], HOMES) for name in IMAGES)):
            inside = image_files(folder, stem)
            for key in sorted(images.keys() & inside.keys()):
                raise UserError(f"{shown(root)}: expected one image {shown(key)}, found "
                                f"{shown(images[key])} and {shown(inside[key])}")
            images |= inside
        return images or image_files(self.inside(root, "images", around=HOMES), stem)

    def _annotations(self, root: Path) -> dict[str, Path]:
        """Return the files with points: mats or, without them, jsons. Raises UserError."""
        jsons = find_folder(root, ["jsons"], HOMES)
        if jsons and not find_folder(root, ["mats"], HOMES):
            return annotation_files(jsons, "*.json")
        return annotation_files(self.inside(root, "mats", around=HOMES), "*.mat")

    def _list(self, root: Path, annotation: Path, name: str) -> Path:
        """Return the list of a split, in a folder around the annotations. Raises UserError."""
        for folder in annotation.parents:
            lists = [path for path in entries(folder) if path.name.lower() == name]
            if lists or folder == root:
                break
        if len(lists) != 1:
            raise UserError(f"{shown(folder)}: expected one list {name}, found {len(lists)}; "
                            f"{self.where}")
        return lists[0]
