"""Anybody's own images: root/{train,test}/ with images and one points.json or points.csv beside them.

points.json: {"street.jpg": [[x, y], ...], "empty.jpg": []}.
points.csv: a header `image,x,y`, then a row per head; an image without people has one row with x and y left empty.
"""

import csv
import io
import json
from collections import Counter, defaultdict
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from benchmark.data.datasets.base import Dataset, Item, Split, as_points, pair
from benchmark.registry import register
from benchmark.utils.errors import UserError

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}
LONGEST = 150  # characters of an image's name: records hold it


@register
class Folder(Dataset):
    """The id of an image is its file name."""

    where: ClassVar[str] = "bring {train,test}/ with your images and a points.json or points.csv in each"

    def items(self, split: Split) -> list[Item]:
        folder = self.inside(self.folder(), split)
        tables = [path for path in (folder / "points.json", folder / "points.csv") if path.is_file()]
        if len(tables) != 1:
            raise UserError(f"{folder}: expected one points.json or points.csv, found {len(tables)}")
        images = {path.name: path for path in folder.iterdir()
                  if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")}
        for name in images:
            if not name.isprintable() or len(name) > LONGEST:
                raise UserError(f"{folder}: image {name!r}: expected a name of at most {LONGEST} printable characters")
        declared = _heads(tables[0])
        if not images:
            raise UserError(f"{folder}: expected images ({' '.join(sorted(SUFFIXES))})")
        if absent := declared.keys() - images.keys():
            raise UserError(f"{tables[0]}: {min(absent)}: expected an image of this name beside it")
        if undeclared := images.keys() - declared.keys():
            raise UserError(f"{tables[0]}: expected an entry for {min(undeclared)}, be it an empty one")
        return pair(images, dict.fromkeys(images, tables[0]))

    def points(self, item: Item) -> np.ndarray:
        return as_points(_heads(item.annotation)[item.image.name], f"{item.annotation}: {item.image.name}")


def _heads(path: Path) -> dict[str, list]:
    """The (x, y) of each image in a table of a split. Raises UserError where the file is not such a table."""
    return _parse(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=4)
def _parse(path: Path, _changed: int) -> dict[str, list]:
    """`_heads`, parsed once for as long as the file does not change."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        return _parse_csv(path, text) if path.suffix == ".csv" else _parse_json(path, text)
    except (ValueError, RecursionError, csv.Error) as error:  # ValueError: no UTF-8, no JSON, a number without end
        raise UserError(f"{path}: expected {path.suffix[1:].upper()} text: {error}") from None


def _parse_json(path: Path, text: str) -> dict[str, list]:
    table = json.loads(text, object_pairs_hook=partial(_unique, path))
    if not isinstance(table, dict) or not all(isinstance(heads, list) for heads in table.values()):
        raise UserError(f'{path}: expected {{"image.jpg": [[x, y], ...], ...}}')
    return table


def _unique(path: Path, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if twice := [key for key, times in Counter(key for key, _ in pairs).items() if times > 1]:
        raise UserError(f"{path}: {twice[0]!r} occurs twice; expected each image once")
    return dict(pairs)


def _parse_csv(path: Path, text: str) -> dict[str, list]:
    table = defaultdict(list)
    rows = csv.DictReader(io.StringIO(text), strict=True)
    if not {"image", "x", "y"} <= set(rows.fieldnames or ()):
        raise UserError(f"{path}: expected a header with image,x,y; found {','.join(rows.fieldnames or ())!r}")
    for row in rows:
        if row["image"] is None:
            raise UserError(f"{path}: line {rows.line_num}: expected the name of an image")
        heads = table[row["image"]]
        if row["x"] or row["y"]:
            try:
                heads.append((float(row["x"]), float(row["y"])))
            except (TypeError, ValueError):
                raise UserError(f"{path}: line {rows.line_num}: expected numbers x,y or both empty; "
                                f"found {row['x']!r},{row['y']!r}") from None
    return dict(table)
