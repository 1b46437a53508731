"""Folders: found by name, however it is spelled and however often it was packed into another.

Letter case, accents, '-', '_' and spaces make no difference. Two folders for one name are refused,
because either could be the one that is meant.
"""

import os
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from benchmark.utils.errors import UserError, shown

LEVELS = 3  # of folders around the one that is looked for
LISTED = 5  # names that an error message lists


def find_folder(parent: Path, names: Sequence[str], around: Sequence[str] = ()) -> Path | None:
    """Return the folder in `parent` with one of the names, or None.

    It may lie in folders that an archive was unpacked into: those with a name in `around`, one with
    the name of its parent, and a folder that has no other folder beside it.

    Raises:
        UserError: there are several, or a folder cannot be read.
    """
    wanted = {_letters(name) for name in names}
    found = _search(parent, wanted, {_letters(name) for name in around}, LEVELS)
    distinct = {os.path.realpath(folder): folder for folder in reversed(found)}
    if len(distinct) > 1:
        first, second = sorted(distinct.values())[:2]
        raise UserError(f"{shown(parent)}: expected one folder {names[0]}, found "
                        f"{shown(first.relative_to(parent))} and "
                        f"{shown(second.relative_to(parent))}; move one of them away")
    return _without_shells(*distinct.values()) if distinct else None


def is_named(folder: Path, names: Sequence[str]) -> bool:
    """Return whether a folder has one of the names, however it is spelled."""
    return _letters(folder.resolve().name) in map(_letters, names)


def entries(folder: Path) -> list[Path]:
    """Return what lies in a folder, sorted, without hidden files and what macOS adds to archives.

    Raises:
        UserError: the folder cannot be read.
    """
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise UserError(f"{shown(folder)}: expected a folder that can be read: "
                        f"{error.strerror}") from None
    return [path for path in paths if not path.name.startswith((".", "__MACOSX"))]


def listed(folder: Path) -> str:
    """Return the names of what lies in a folder, for an error message."""
    names = [path.name for path in entries(folder)]
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return shown(", ".join(names[:LISTED])) + more if names else "nothing"


def _search(parent: Path, wanted: set[str], around: set[str], levels: int) -> list[Path]:
    """Return the folders with a wanted name in `parent` and in the folders packed around them."""
    folders = [path for path in entries(parent) if path.is_dir()]
    found = [folder for folder in folders if _letters(folder.name) in wanted]
    packed = {*around, _letters(parent.name)} - wanted
    inner = [folder for folder in folders if _letters(folder.name) in packed]
    if not found and len(folders) == 1:
        inner = folders
    if levels:
        for folder in inner:
            found += _search(folder, wanted, around, levels - 1)
    return found


def _without_shells(folder: Path) -> Path:
    """Return the innermost of folders that hold nothing but a folder of the same name."""
    for _ in range(LEVELS):
        inside = entries(folder)
        if len(inside) != 1 or not inside[0].is_dir():
            break
        if _letters(inside[0].name) != _letters(folder.name):
            break
        folder = inside[0]
    return folder


def _letters(name: str) -> str:
    """Return a name in lower case, in one spelling of accents, without '-', '_' and spaces."""
    return re.sub(r"[-_\s]", "", unicodedata.normalize("NFKC", name).casefold())
