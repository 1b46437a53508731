"""Folder: your own images, in root/{train,test}/ with one points.json or points.csv for each split.

points.json: {"street.jpg": [[x, y], ...], "empty.jpg": []}.
points.csv: a header `image,x,y`, then one row per head. An image without people has one row with x
and y left empty.
"""

import csv
import difflib
import io
import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from benchmark.data.datasets.base import Dataset, Item, Split
from benchmark.data.datasets.parts.folders import entries
from benchmark.data.datasets.parts.pairs import (by_number, image_files, matched, spelling,
                                                 spellings)
from benchmark.data.datasets.parts.points import as_points
from benchmark.registry import register
from benchmark.utils.errors import UserError, shown
from benchmark.utils.regular_files import check_regular

TABLES = ("points.json", "points.csv")
MOST_BYTES = 200_000_000  # of a table; a million heads take 40 MB


@register
class Folder(Dataset):
    """The id of an image is its file name."""

    where: ClassVar[str] = "put images and a points.json or points.csv into its folders train, test"

    def items(self, split: Split) -> list[Item]:
        folder = self.inside(self.folder(), split)
        images = image_files(folder, key=lambda path: path.name)
        path = _table_of(folder)
        declared = _read(path).heads.keys()
        partners = matched(images, declared)
        absent = declared - set(partners.values())
        undeclared = images.keys() - partners.keys()
        if absent:
            raise UserError(f"{shown(path)}: {shown(min(absent))}: expected an image of this name "
                            f"in the folder{_similar(min(absent), undeclared)}")
        if undeclared:
            raise UserError(f"{shown(path)}: expected the points of {shown(min(undeclared))}, "
                            "found none; an image without people is listed without points")
        return [Item(name, images[name], path) for name in by_number(images)]

    def points(self, item: Item) -> np.ndarray:
        table, name = _read(item.annotation), item.image.name
        listed_as = name if name in table.heads else table.spellings[spelling(name)]
        return as_points(table.heads[listed_as], f"{item.annotation}: {name}")


@dataclass(frozen=True)
class _Table:
    """The (x, y) of the heads of each image, and the names of the images by `spelling`."""

    heads: dict[str, list]
    spellings: dict[str, str]


def _table_of(folder: Path) -> Path:
    """Return the file with the points of a split. Raises UserError unless there is exactly one."""
    tables = [path for path in entries(folder) if path.name.lower() in TABLES]
    if len(tables) != 1:
        found = " and ".join(path.name for path in tables) or "none"
        raise UserError(f"{shown(folder)}: expected one {' or '.join(TABLES)}, found {found}")
    return tables[0]


def _similar(name: str, others: Iterable[str]) -> str:
    """Return a hint at the most similar of other names; empty if none is similar."""
    near = difflib.get_close_matches(name, others, n=1)
    return f"; similar: {near[0]!a}" if near else ""


def _read(path: Path) -> _Table:
    """Return the table in a file. Raises UserError if the file is no such table."""
    check_regular(path, MOST_BYTES)
    return _parse(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=4)
def _parse(path: Path, _changed: int) -> _Table:
    """Parse a table as `_read` does. The result is cached until the file changes."""
    kind = path.suffix[1:].upper()
    try:
        text = path.read_text(encoding="utf-8-sig")
        heads = _parse_csv(path, text) if kind == "CSV" else _parse_json(path, text)
    except (ValueError, RecursionError, csv.Error) as error:  # not UTF-8 or JSON, or a huge number
        raise UserError(f"{shown(path)}: expected {kind} text: {shown(error)}") from None
    return _Table(heads, spellings(heads))


def _parse_json(path: Path, text: str) -> dict[str, list]:
    table = json.loads(text, object_pairs_hook=partial(_unique, path))
    if not isinstance(table, dict) or not all(isinstance(heads, list) for heads in table.values()):
        raise UserError(f'{shown(path)}: expected {{"image.jpg": [[x, y], ...], ...}}')
    for name, heads in table.items():
        # numpy would take true and false for 1 and 0.
        if any(isinstance(value, bool) for head in heads if isinstance(head, list)
               for value in head):
            raise UserError(f"{shown(path)}: {shown(name)}: expected points as numbers (x, y), "
                            "found true or false")
    if any(not name.strip() for name in table):
        raise UserError(f"{shown(path)}: an empty name; expected the name of an image")
    return table


def _unique(path: Path, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the pairs of a JSON object as a dict. Raises UserError if a key occurs twice."""
    table: dict[str, Any] = {}
    for key, value in pairs:
        if key in table:
            raise UserError(f"{shown(path)}: {shown(key)!r} occurs twice; expected each image once")
        table[key] = value
    return table


def _parse_csv(path: Path, text: str) -> dict[str, list]:
    table = defaultdict(list)
    rows = csv.DictReader(io.StringIO(text), strict=True)
    header = rows.fieldnames or ()
    if not {"image", "x", "y"} <= set(header):
        raise UserError(f"{shown(path)}: expected a header with image,x,y; "
                        f"found {shown(','.join(header))!r}")
    if len(set(header)) < len(header):
        raise UserError(f"{shown(path)}: the header has a column twice: "
                        f"{shown(','.join(header))!r}; expected each column once")
    for row in rows:
        if row.get(None):  # the columns behind the last one of the header
            raise UserError(f"{shown(path)}: line {rows.line_num}: more columns than in the "
                            f"header: {shown(','.join(row[None]))!r} too many; numbers have a "
                            "decimal point, and a name with a comma stands in quotes")
        if not (row["image"] or "").strip():
            raise UserError(f"{shown(path)}: line {rows.line_num}: expected the name of an image")
        heads = table[row["image"]]
        if row["x"] != "" or row["y"] != "":  # None where the row ends before the column
            try:
                heads.append((_number(row["x"]), _number(row["y"])))
            except (TypeError, ValueError):
                raise UserError(f"{shown(path)}: line {rows.line_num}: expected numbers x,y or "
                                f"both empty; found {shown(row['x'])},{shown(row['y'])}") from None
    return dict(table)


def _number(text: str) -> float:
    """The number in a field; `float` would also read 1_0, as 10. Raises TypeError, ValueError."""
    if "_" in text:
        raise ValueError(text)
    return float(text)
