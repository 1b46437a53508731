"""Folder: your own images, in root/{train,test}/ with one points.json or points.csv for each split.

points.json: {"street.jpg": [[x, y], ...], "empty.jpg": []}.
points.csv: a header `image,x,y`, then one row per head. An image without people has one row with x
and y left empty.
"""

import csv
import io
import json
from collections import defaultdict
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from benchmark.data.datasets.base import Dataset, Item, Split, as_points, pair
from benchmark.registry import register
from benchmark.utils.errors import UserError

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}
LONGEST = 150  # the largest number of characters in an image's name, which records contain


@register
class Folder(Dataset):
    """The id of an image is its file name."""

    where: ClassVar[str] = "put images and a points.json or points.csv into its folders train, test"

    def items(self, split: Split) -> list[Item]:
        folder = self.inside(self.folder(), split)
        candidates = (folder / "points.json", folder / "points.csv")
        tables = [path for path in candidates if path.is_file()]
        if len(tables) != 1:
            raise UserError(f"{folder}: expected one points.json or points.csv, "
                            f"found {len(tables)}")
        [table] = tables
        images = _images(folder)
        declared = _heads(table)
        if not images:
            raise UserError(f"{folder}: expected images ({' '.join(sorted(SUFFIXES))}), found none")
        if absent := declared.keys() - images.keys():
            raise UserError(f"{table}: {min(absent)}: expected an image of this name in the folder")
        if undeclared := images.keys() - declared.keys():
            raise UserError(f"{table}: expected the points of {min(undeclared)}, found none; "
                            "an image without people is listed without points")
        return pair(images, dict.fromkeys(images, table))

    def points(self, item: Item) -> np.ndarray:
        name = item.image.name
        return as_points(_heads(item.annotation)[name], f"{item.annotation}: {name}")


def _images(folder: Path) -> dict[str, Path]:
    """Return the images in a folder by name. Raises UserError if records cannot hold a name."""
    images = {path.name: path for path in folder.iterdir()
              if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")}
    for name in images:
        if not name.isprintable() or len(name) > LONGEST:
            raise UserError(f"{folder}: image {name!r}: expected a name of at most {LONGEST} "
                            "printable characters")
    return images


def _heads(path: Path) -> dict[str, list]:
    """Return the (x, y) of the heads of each image in a table.

    Raises:
        UserError: the file is not such a table.
    """
    return _parse(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=4)
def _parse(path: Path, _changed: int) -> dict[str, list]:
    """Parse a table as `_heads` does. The result is cached until the file changes."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        return _parse_csv(path, text) if path.suffix == ".csv" else _parse_json(path, text)
    except (ValueError, RecursionError, csv.Error) as error:  # not UTF-8 or JSON, or a huge number
        raise UserError(f"{path}: expected {path.suffix[1:].upper()} text: {error}") from None


def _parse_json(path: Path, text: str) -> dict[str, list]:
    table = json.loads(text, object_pairs_hook=partial(_unique, path))
    if not isinstance(table, dict) or not all(isinstance(heads, list) for heads in table.values()):
        raise UserError(f'{path}: expected {{"image.jpg": [[x, y], ...], ...}}')
    return table


def _unique(path: Path, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the pairs of a JSON object as a dict. Raises UserError if a key occurs twice."""
    table: dict[str, Any] = {}
    for key, value in pairs:
        if key in table:
            raise UserError(f"{path}: {key!r} occurs twice; expected each image once")
        table[key] = value
    return table


def _parse_csv(path: Path, text: str) -> dict[str, list]:
    table = defaultdict(list)
    rows = csv.DictReader(io.StringIO(text), strict=True)
    header = rows.fieldnames or ()
    if not {"image", "x", "y"} <= set(header):
        raise UserError(f"{path}: expected a header with image,x,y; found {','.join(header)!r}")
    for row in rows:
        if row["image"] is None:
            raise UserError(f"{path}: line {rows.line_num}: expected the name of an image")
        heads = table[row["image"]]
        if row["x"] or row["y"]:
            try:
                heads.append((float(row["x"]), float(row["y"])))
            except (TypeError, ValueError):
                raise UserError(f"{path}: line {rows.line_num}: expected numbers x,y or both "
                                f"empty; found {row['x']!r},{row['y']!r}") from None
    return dict(table)
