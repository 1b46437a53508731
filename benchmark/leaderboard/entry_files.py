"""Entry files: the folder of an entry, read and compared with what its manifest says.

Nothing is read before its size is known, and no link is followed.
"""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.config import frozen_grids
from benchmark.leaderboard.attack_checks import check_attack
from benchmark.leaderboard.component_checks import KeyProblem, check_name, check_version
from benchmark.leaderboard.manifest import (CELLS, FILE, MOST_CELLS, MOST_MANIFEST, MOST_TOTAL,
                                            RERUNS, UNDEFENDED, VERIFICATION, EnteredAttack,
                                            Manifest, attack_of, identity, revision)
from benchmark.results.record import Choice, Record
from benchmark.utils.errors import did_you_mean
from benchmark.utils.strict_json import MOST_BYTES, InvalidFile, one_line, parse_as, read_bytes

LEVELS = 3  # folders above the files of an entry: protocol, defense, revision


@dataclass(frozen=True)
class Problem:
    """A problem of an entry.

    path: the file or folder. key: the field, or 'file', 'path', 'cell' and the like.
    what: the value found and what was expected.
    grave: whether it is an error. If not, the entry is merely incomplete.
    """

    path: str
    key: str
    what: str
    grave: bool = True

    def line(self) -> str:
        kind = "error" if self.grave else "incomplete, shown without a rank"
        return one_line(f"{kind}: {self.path}: {self.key}: {self.what}")

    def to_dict(self) -> dict[str, Any]:
        return {"path": self.path, "key": one_line(self.key), "what": one_line(self.what),
                "grave": self.grave}


def find_entries(root: Path, level: int = 0) -> Iterator[Path | Problem]:
    """The folders of entries. Anything else below the root, but README.md, is a problem.

    Hidden folders are skipped: they are drafts of entries that a killed process left.
    """
    items = [item for item in os.scandir(root) if not (item.is_dir() and item.name.startswith("."))]
    items.sort(key=lambda item: item.name)
    if any(item.name in (FILE, CELLS) for item in items):
        yield root
        return
    if level == LEVELS:
        yield Problem(str(root), "file", f"no {FILE} and no {CELLS}; expected both")
        return
    for item in items:
        if item.is_dir(follow_symlinks=False):
            yield from find_entries(root / item.name, level + 1)
        elif item.name != "README.md" or item.is_symlink():
            yield Problem(str(root / item.name), "file", "not part of an entry; expected only "
                          f"PROTOCOL/DEFENSE/REVISION/{FILE} here")


class BrokenEntry(Exception):
    """An error after which the rest of an entry cannot be checked."""

    def __init__(self, path: Path, key: str, what: str):
        super().__init__(what)
        self.problem = Problem(str(path), key, what)


def read_entry(folder: Path) -> tuple[Manifest, dict[str, Record]]:
    """The manifest and the cells of an entry, if the path and the manifest fit the cells.

    Raises:
        BrokenEntry: a file is missing, broken or has another hash, or path and manifest do not
            fit the cells.
    """
    names, path = _cell_names(folder), folder / FILE
    try:
        manifest = parse_as(Manifest, read_bytes(path, MOST_MANIFEST))
        digests, cells = {}, {}
        for name in names:
            path = folder / CELLS / name
            content = read_bytes(path)
            digests[name] = hashlib.sha256(content).hexdigest()
            cells[name] = Record.parse(content)
    except InvalidFile as error:
        raise BrokenEntry(path, error.key, error.what) from None
    for name in sorted(manifest.cells.keys() | digests.keys()):
        digest = digests.get(name, "no such file")
        expected = manifest.cells.get(name, "no such file")
        if digest != expected:
            raise BrokenEntry(folder / CELLS / name, "sha256",
                              f"{digest}; expected {expected}, as {FILE} says")
    _check_manifest(folder, manifest, cells, revision(digests))
    return manifest, cells


def _check_manifest(folder: Path, manifest: Manifest, cells: dict[str, Record],
                    expected_revision: str) -> None:
    """Raise BrokenEntry if the path or the manifest do not fit the cells."""
    expected = (manifest.protocol, manifest.folder, expected_revision)
    parts = Path(os.path.abspath(folder)).parts[-LEVELS:]
    if parts != expected:
        raise BrokenEntry(folder, "path", f"{'/'.join(parts)}; expected {'/'.join(expected)} for "
                          "this manifest and these cells")
    grids = {grid.name: grid for grid in frozen_grids.frozen()
             if grid.takes_attacks == (manifest.attack is not None)}
    if manifest.protocol not in grids:
        sort = "of attacks" if manifest.attack else "of defenses"
        raise BrokenEntry(folder / FILE, "protocol", f"{manifest.protocol!r}; expected a frozen "
                          f"grid {sort}: {did_you_mean(manifest.protocol, grids)}")
    problems = (_check_defense(manifest.defense, cells) if manifest.defense
                else _check_attack(manifest.attack, grids[manifest.protocol], cells))
    for key, what in problems:
        raise BrokenEntry(folder / FILE, key, what)


def _check_defense(own: Choice, cells: dict[str, Record]) -> Iterator[KeyProblem]:
    """The problems of an entry's defense, by its manifest."""
    yield from check_name("defense", own.name)
    yield from check_version("defense", own)
    if own.given or own.name == UNDEFENDED.name:
        yield "defense", (f"{own.name}, given {str(own.given):.200}; expected the name, version "
                          "and resolved settings of a defense")
    if identity(own) not in map(identity, (record.defense for record in cells.values())):
        yield "defense", (f"no cell has {own.name} {str(own.resolved):.200}, version "
                          f"{own.version}; expected at least one")


def _check_attack(own: EnteredAttack, grid: frozen_grids.FrozenGrid,
                  cells: dict[str, Record]) -> Iterator[KeyProblem]:
    """The problems of an entry's attack, by its manifest."""
    yield from check_attack(own, grid)
    attacks = [attack_of(record.attack) for record in cells.values() if record.attack]
    if own.identity not in [attack.identity for attack in attacks]:
        yield "attack", (f"no cell has {own.title} with the versions and settings of {FILE}; "
                         "expected at least one")


def read_reruns(folder: Path) -> dict[str, Record]:
    """The records of reruns, by the names of their files.

    Raises:
        BrokenEntry: one is broken, or the folder has other files.
    """
    return _read_records(folder / RERUNS) if (folder / RERUNS).is_dir() else {}


def read_verification(folder: Path) -> tuple[str, dict[str, Record]]:
    """The commit that a verification names, and its records, by the names of their files.

    Both are empty for an entry that was not verified.

    Raises:
        BrokenEntry: a record is broken, or there are other files or several commits.
    """
    parent = folder / VERIFICATION
    if not parent.is_dir():
        return "", {}
    items = list(os.scandir(parent))
    if len(items) != 1 or not items[0].is_dir(follow_symlinks=False):
        raise BrokenEntry(parent, "file", f"{len(items)} items; expected one folder, whose name is "
                          "a commit")
    records = _read_records(parent / items[0].name)
    if not records:
        raise BrokenEntry(parent / items[0].name, "file", "empty; expected at least one record")
    return items[0].name, records


def _read_records(folder: Path) -> dict[str, Record]:
    """The records in a folder, by the names of their files. Raises BrokenEntry, see above."""
    records = {}
    for name in _record_names(folder):
        path = folder / name
        try:
            records[name] = Record.parse(read_bytes(path))
        except InvalidFile as error:
            raise BrokenEntry(path, error.key, error.what) from None
    return records


def _cell_names(folder: Path) -> list[str]:
    """The names of the files of an entry's cells, found without reading a file.

    Raises:
        BrokenEntry: a file is missing, unexpected, a link or too large.
    """
    for path, is_kind, kind in ((folder / FILE, Path.is_file, "file"),
                                (folder / CELLS, Path.is_dir, "folder")):
        if path.is_symlink() or not is_kind(path):
            raise BrokenEntry(path, "file", f"missing or a link; expected a {kind}")
    for item in os.scandir(folder):
        is_added = (item.name in (RERUNS, VERIFICATION)
                    and item.is_dir(follow_symlinks=False))
        if item.name not in (FILE, CELLS) and not is_added:
            raise BrokenEntry(folder / item.name, "file", "not part of an entry; expected only "
                              f"{FILE} and the folders {CELLS}, {RERUNS} and {VERIFICATION}")
    return _record_names(folder / CELLS)


def _record_names(folder: Path) -> list[str]:
    """The names of the record files in a folder, which may have nothing else.

    Raises:
        BrokenEntry: there is another file or a link, or there are too many or too large files.
    """
    names = []
    total = 0
    for item in os.scandir(folder):
        path = folder / item.name
        if not item.is_file(follow_symlinks=False) or not item.name.endswith(".json"):
            raise BrokenEntry(path, "file", "not a record; expected only records (*.json) here, "
                              "and no links")
        size = item.stat(follow_symlinks=False).st_size
        if size > MOST_BYTES:
            raise BrokenEntry(path, "file", f"{size} bytes; expected at most {MOST_BYTES}")
        names.append(item.name)
        total += size
        if total > MOST_TOTAL or len(names) > MOST_CELLS:
            raise BrokenEntry(folder, "file", f"at least {len(names)} records of {total} bytes; "
                              f"expected at most {MOST_CELLS} records of {MOST_TOTAL} bytes in "
                              "all")
    return sorted(names)
