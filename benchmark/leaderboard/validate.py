"""Validation: checks the entries of the leaderboard without running or downloading anything.

An entry must be whole and consistent. Anything else is an error; an entry that lacks cells of its
grid is incomplete, which is allowed. The check cannot tell whether a counter did give the counts of
a record: that takes the published revision, or a rerun.
"""

import filecmp
import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from benchmark.config import frozen_grids
from benchmark.leaderboard import consistency, reruns
from benchmark.leaderboard.manifest import (CELLS, FILE, MOST_CELLS, MOST_MANIFEST, MOST_TOTAL,
                                            RERUNS, Manifest, revision, without_given)
from benchmark.results.record import Record
from benchmark.utils.errors import UserError, did_you_mean
from benchmark.utils.strict_json import MOST_BYTES, InvalidFile, parse_as, read_bytes, shown

LEVELS = 3  # folders above the files of an entry: protocol, defense, revision
MOST_SHOWN = 20  # problems of the records of one entry, after which the check of it stops


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
        return shown(f"{kind}: {self.path}: {self.key}: {self.what}")


@dataclass(frozen=True)
class CheckedEntry:
    """An entry without errors."""

    path: str
    protocol: str
    defense: str
    cells: int
    seeds: list[int]
    complete: bool
    tier: str

    def line(self) -> str:
        seeds = ", ".join(map(str, self.seeds))
        return shown(f"ok: {self.path}: {self.defense} on {self.protocol}: {self.cells} cells, "
                     f"seeds {seeds}, tier: {self.tier}")


@dataclass
class ValidationReport:
    """The entries without errors, and all problems."""

    entries: list[CheckedEntry] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether there is no error."""
        return not any(problem.grave for problem in self.problems)

    def text(self) -> str:
        errors = sum(problem.grave for problem in self.problems)
        lines = [item.line() for item in (*self.entries, *self.problems)]
        return "\n".join([*lines, f"{len(self.entries)} entries without errors, {errors} errors"])

    def to_dict(self) -> dict[str, Any]:
        return {"ok": self.ok, "entries": [asdict(entry) for entry in self.entries],
                "findings": [asdict(problem) for problem in self.problems]}


def validate(paths: Sequence[Path], against: Path | None = None) -> ValidationReport:
    """Check every entry in some folders.

    against: an older copy of the folder. An entry of it that has changed or is gone is an error.

    Raises:
        UserError: a path is not a folder, or `against` is combined with several folders.
    """
    for path in [*paths, *([against] if against else [])]:
        if not path.is_dir():
            raise UserError(f"validate {path}: not a folder; expected a folder of entries")
    if against and len(paths) != 1:
        raise UserError(f"validate --against {against}: {len(paths)} folders; expected one that "
                        "is compared with it")
    report = ValidationReport()
    for root in paths:
        for item in _find_entries(root):
            if isinstance(item, Problem):
                report.problems.append(item)
            else:
                _check_entry(item, report)
        if against:
            report.problems += _check_unchanged(root, against)
    return report


def _find_entries(root: Path, level: int = 0) -> Iterator[Path | Problem]:
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
            yield from _find_entries(root / item.name, level + 1)
        elif item.name != "README.md" or item.is_symlink():
            yield Problem(str(root / item.name), "file", "not part of an entry; expected only "
                          f"PROTOCOL/DEFENSE/REVISION/{FILE} here")


def _check_entry(folder: Path, report: ValidationReport) -> None:
    """Add an entry to a report: its errors, or without any the entry and its missing cells.

    Errors of cells are cut off after MOST_SHOWN.
    """
    try:
        manifest, cells = _read_entry(folder)
        rerun_files = _read_reruns(folder)
    except _BrokenEntry as error:
        report.problems.append(error.problem)
        return
    defense = manifest.defense
    grid = next(grid for grid in frozen_grids.frozen() if grid.name == manifest.protocol)
    errors = [Problem(str(folder / CELLS / file), key, message) for file, key, message in
              islice(consistency.check(cells, defense, grid), MOST_SHOWN)]
    records, rerun_records = list(cells.values()), list(rerun_files.values())
    if not errors:
        verdicts = reruns.verdicts(records, rerun_records)
        errors = [Problem(str(folder / RERUNS / file), "rerun",
                          f"{verdict}; expected another run of a cell, with the entry's counts")
                  for file, verdict in zip(rerun_files, verdicts)
                  if verdict not in (reruns.SAME, reruns.ALIKE)]
    report.problems += errors
    if errors:
        return
    missing = [Problem(str(folder), key, message, grave=False)
               for _, key, message in consistency.missing(cells, defense, grid)]
    report.problems += missing
    report.entries.append(CheckedEntry(
        str(folder), manifest.protocol, defense.name, len(cells),
        sorted({record.seed for record in records}), complete=not missing,
        tier=reruns.tier(records, rerun_records)))


class _BrokenEntry(Exception):
    """An error after which the rest of an entry cannot be checked."""

    def __init__(self, path: Path, key: str, what: str):
        super().__init__(what)
        self.problem = Problem(str(path), key, what)


def _read_entry(folder: Path) -> tuple[Manifest, dict[str, Record]]:
    """The manifest and the cells of an entry, if the path and the manifest fit the cells.

    Raises:
        _BrokenEntry: a file is missing, broken or has another hash, or path and manifest do not
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
        raise _BrokenEntry(path, error.key, error.what) from None
    for name in sorted(manifest.cells.keys() | digests.keys()):
        digest = digests.get(name, "no such file")
        expected = manifest.cells.get(name, "no such file")
        if digest != expected:
            raise _BrokenEntry(folder / CELLS / name, "sha256",
                               f"{digest}; expected {expected}, as {FILE} says")
    _check_manifest(folder, manifest, cells, revision(digests))
    return manifest, cells


def _check_manifest(folder: Path, manifest: Manifest, cells: dict[str, Record],
                    expected_revision: str) -> None:
    """Raise _BrokenEntry if the path or the manifest do not fit the cells."""
    expected = (manifest.protocol, manifest.defense.name, expected_revision)
    parts = Path(os.path.abspath(folder)).parts[-LEVELS:]
    if parts != expected:
        raise _BrokenEntry(folder, "path", f"{'/'.join(parts)}; expected {'/'.join(expected)} for "
                           "this manifest and these cells")
    grids = [grid.name for grid in frozen_grids.frozen()]
    if manifest.protocol not in grids:
        raise _BrokenEntry(folder / FILE, "protocol", f"{manifest.protocol!r}; expected a frozen "
                           f"grid: {did_you_mean(manifest.protocol, grids)}")
    own = manifest.defense
    if own.given or own.name == consistency.UNDEFENDED:
        raise _BrokenEntry(folder / FILE, "defense", f"{own.name}, given {own.given}; expected the "
                           "name, version and resolved settings of a defense")
    if own not in [without_given(record.defense) for record in cells.values()]:
        raise _BrokenEntry(folder / FILE, "defense", f"no cell has {own.name} {own.resolved}, "
                           f"version {own.version}; expected at least one")


def _read_reruns(folder: Path) -> dict[str, Record]:
    """The records of reruns, by the names of their files.

    Raises:
        _BrokenEntry: one is broken, or the folder has other files.
    """
    if not (folder / RERUNS).is_dir():
        return {}
    records = {}
    for name in _record_names(folder / RERUNS):
        path = folder / RERUNS / name
        try:
            records[name] = Record.parse(read_bytes(path))
        except InvalidFile as error:
            raise _BrokenEntry(path, error.key, error.what) from None
    return records


def _cell_names(folder: Path) -> list[str]:
    """The names of the files of an entry's cells, found without reading a file.

    Raises:
        _BrokenEntry: a file is missing, unexpected, a link or too large.
    """
    for path, is_kind, kind in ((folder / FILE, Path.is_file, "file"),
                                (folder / CELLS, Path.is_dir, "folder")):
        if path.is_symlink() or not is_kind(path):
            raise _BrokenEntry(path, "file", f"missing or a link; expected a {kind}")
    for item in os.scandir(folder):
        is_folder_of_reruns = item.name == RERUNS and item.is_dir(follow_symlinks=False)
        if item.name not in (FILE, CELLS) and not is_folder_of_reruns:
            raise _BrokenEntry(folder / item.name, "file", f"not part of an entry; expected only "
                               f"{FILE} and the folders {CELLS} and {RERUNS}")
    return _record_names(folder / CELLS)


def _record_names(folder: Path) -> list[str]:
    """The names of the record files in a folder, which may have nothing else.

    Raises:
        _BrokenEntry: there is another file or a link, or there are too many or too large files.
    """
    names = []
    total = 0
    for item in os.scandir(folder):
        path = folder / item.name
        if not item.is_file(follow_symlinks=False) or not item.name.endswith(".json"):
            raise _BrokenEntry(path, "file", "not a record; expected only records (*.json) here, "
                               "and no links")
        size = item.stat(follow_symlinks=False).st_size
        if size > MOST_BYTES:
            raise _BrokenEntry(path, "file", f"{size} bytes; expected at most {MOST_BYTES}")
        names.append(item.name)
        total += size
        if total > MOST_TOTAL or len(names) > MOST_CELLS:
            raise _BrokenEntry(folder, "file", f"at least {len(names)} records of {total} bytes; "
                               f"expected at most {MOST_CELLS} records of {MOST_TOTAL} bytes in "
                               "all")
    return sorted(names)


def _check_unchanged(root: Path, published: Path) -> Iterator[Problem]:
    """The published entries that have changed or are gone, and new entries that bring reruns.

    No file of a published revision may change, entry.json included, but reruns may be added.
    """
    for old in _find_entries(published):
        if isinstance(old, Problem):
            continue
        new = root / old.relative_to(published)
        if not new.is_dir():
            yield Problem(str(new), "entry", "is gone; expected the published entry, unchanged")
            continue
        old_files, new_files = _files(old), _files(new)
        added = {file for file in new_files - old_files if Path(file).parts[0] == RERUNS}
        for file in sorted((old_files | new_files) - added):
            if not _are_same(old / file, new / file):
                yield Problem(str(new / file), "file", "differs from what was published; expected "
                              "no change, or a new revision")
    for new in _find_entries(root):
        if isinstance(new, Problem) or (published / new.relative_to(root)).exists():
            continue
        if (new / RERUNS).exists():
            yield Problem(str(new / RERUNS), "file", "in a new entry; expected none until others "
                          "run its cells again")


def _files(folder: Path) -> set[str]:
    """The paths of all files in a folder, relative to it."""
    paths = set()
    for parent, _, names in os.walk(folder):
        paths |= {os.path.relpath(os.path.join(parent, name), folder) for name in names}
    return paths


def _are_same(old: Path, new: Path) -> bool:
    """Whether both are files, the new one no link, with the same bytes."""
    are_files = old.is_file() and new.is_file() and not new.is_symlink()
    return are_files and filecmp.cmp(old, new, shallow=False)
