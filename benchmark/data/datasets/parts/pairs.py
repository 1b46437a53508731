"""Pairs: the image files and annotations of a folder, matched by name.

Each file has a key: the part of its name that says which image it belongs to.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from mimetypes import MimeTypes
from pathlib import Path

from benchmark.data.datasets.parts.folders import entries
from benchmark.utils.errors import UserError, shown

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}
# Of images, and missing in the list of types.
OTHER_SUFFIXES = {".jfif", ".jp2", ".j2k", ".jxl", ".psd", ".avif", ".dng", ".cr2", ".nef", ".tga"}
TYPES = MimeTypes()  # Python's own list, whatever this machine knows
LONGEST = 150  # the largest number of characters in the id of an image, which records contain


@dataclass(frozen=True)
class Item:
    """An image file and the file with its annotation."""

    id: str
    image: Path
    annotation: Path


def image_files(folder: Path, key: Callable[[Path], str]) -> dict[str, Path]:
    """Return the images in a folder by their keys.

    Raises:
        UserError: there is none, two have one key, or one has a name or a format that is not
            supported.
    """
    images: dict[str, Path] = {}
    for path in entries(folder):
        if path.suffix.strip().lower() in SUFFIXES:
            check_name(path)
            _add(images, key(path), path)
        elif _may_be_image(path):
            raise UserError(f"{shown(path)}: expected images named {' '.join(sorted(SUFFIXES))}; "
                            "convert this one, or move it away")
        elif path.is_dir() and any(_may_be_image(inner) for inner in entries(path)):
            raise UserError(f"{shown(path)}: a folder with images; expected them in "
                            f"{shown(folder)} itself, or move it away")
    if not images:
        raise UserError(f"{shown(folder)}: expected images ({' '.join(sorted(SUFFIXES))}), "
                        "found none")
    return images


def _may_be_image(path: Path) -> bool:
    """Whether a file has the name of an image of any kind, also of one that is not supported."""
    suffix = path.suffix.strip().lower()
    kind = TYPES.guess_type(path.name)[0] or ""
    return kind.startswith("image/") or suffix in SUFFIXES or suffix in OTHER_SUFFIXES


def annotation_files(folder: Path, pattern: str) -> dict[str, Path]:
    """Return the files that match a pattern such as 'GT_*.mat', by the text that the star matches.

    Letter case makes no difference, nor does '-', '_' or a space.

    Raises:
        UserError: no file matches, or two have one key.
    """
    text = re.sub(r"[_-]|\\-", "[-_ ]", re.escape(pattern)).replace(r"\*", "([^.].*)")
    expression = re.compile(text, re.IGNORECASE | re.DOTALL)
    annotations: dict[str, Path] = {}
    for path in entries(folder):
        match = expression.fullmatch(path.name)
        if match:
            _add(annotations, match[1], path)
    if not annotations:
        raise UserError(f"{shown(folder)}: expected files named {pattern}, found none")
    return annotations


def pair(images: dict[str, Path], annotations: dict[str, Path]) -> list[Item]:
    """Return the images with their annotations, by their keys, ordered by number.

    Raises:
        UserError: an image has no annotation, or an annotation has no image.
    """
    partners = matched(images, annotations)
    alone = by_number(images.keys() - partners.keys())
    if alone:
        raise _alone(images[alone[0]], "annotation", len(alone))
    alone = by_number(annotations.keys() - set(partners.values()))
    if alone:
        raise _alone(annotations[alone[0]], "image", len(alone))
    return [Item(key, images[key], annotations[partners[key]]) for key in by_number(images)]


def matched(keys: Iterable[str], others: Iterable[str]) -> dict[str, str]:
    """Return the one of `others` that belongs to each key; keys without one are left out.

    It is the same text or, if there is none, the only one that differs from it in nothing but
    letter case, the spelling of accents, and '-', '_' or a space.
    """
    keys, others = set(keys), set(others)
    ours, theirs = spellings(keys), spellings(others)
    partners = {key: key for key in keys & others}
    partners |= {ours[form]: theirs[form] for form in ours.keys() & theirs.keys()}
    return partners


def spellings(names: Iterable[str]) -> dict[str, str]:
    """Return names by their `spelling`, without those that have one in common."""
    by_spelling = defaultdict(list)
    for name in names:
        by_spelling[spelling(name)].append(name)
    return {form: same[0] for form, same in by_spelling.items() if len(same) == 1}


def spelling(name: str) -> str:
    """Return the form that all spellings of a name share: see `matched`."""
    return re.sub(r"[-_\s]+", "_", unicodedata.normalize("NFKC", name).casefold().strip())


def by_number(keys: Iterable[str]) -> list[str]:
    """Return keys in order, with numbers in them compared as numbers: IMG_2 is before IMG_10."""
    def parts(key: str) -> list[int | str]:
        return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", key)]

    return sorted(keys, key=parts)


def stem(path: Path) -> str:
    """The key of an image whose annotation has a name of its own: its name without the suffix."""
    return path.stem


def _add(paths: dict[str, Path], key: str, path: Path) -> None:
    """Add a path under its key. Raises UserError if another path has it."""
    if key in paths:
        raise UserError(f"{shown(path.parent)}: expected one file for {shown(key)}, found "
                        f"{shown(paths[key].name)} and {shown(path.name)}; move one of them away")
    paths[key] = path


def check_name(path: Path) -> None:
    """Check that records can hold a name. Raises UserError."""
    if not path.name.isprintable() or len(path.name) > LONGEST:
        raise UserError(f"{shown(path.parent)}: image '{shown(path.name)}': expected a name of at "
                        f"most {LONGEST} printable characters")


def _alone(path: Path, kind: str, number: int) -> UserError:
    more = f" (and {number - 1} more like it)" if number > 1 else ""
    return UserError(f"{shown(path)}: expected an {kind} that belongs to it{more}")
