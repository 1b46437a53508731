"""Record files: the records in files and folders, labelled with their entries and their victims.

An entry is read as `validate` reads it, and shown only if it has no error.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmark.config import frozen_grids
from benchmark.leaderboard.entry_labels import RecordFiles, label_entries
from benchmark.leaderboard.manifest import (CELLS, FILE, MOST_MANIFEST, RERUNS, VERIFICATION,
                                            Manifest)
from benchmark.leaderboard.validate import CheckedEntry, check_entry
from benchmark.results.controls import SHARED
from benchmark.results.record import Record
from benchmark.results.scenarios import cell_of
from benchmark.utils.errors import UserError, shown
from benchmark.utils.human import number
from benchmark.utils.progress import log
from benchmark.utils.strict_json import InvalidFile, one_line, parse_as, read_bytes

# Folders beside records whose JSON files, at any depth, are not cells.
NOT_CELLS = {RERUNS, VERIFICATION, "tables", "zoo", "dataset"}


def read_record_files(paths: Sequence[Path]) -> RecordFiles:
    """The records in files and folders, each with its path; see `label_entries`.

    A line on stderr names each record that is broken and skipped, each entry that has an error and
    is left out, and each entry that has no rank, with the reason.

    Raises:
        UserError: a path does not exist; there is no record, or none that is sound; or two records
            of one cell differ, and it is not a cell of a control.
    """
    for path in paths:
        if not path.exists():
            raise UserError(f"{shown(path)}: no such file or folder; expected record files, or "
                            "folders that hold them")
    found, where = _find(paths), shown(", ".join(map(str, paths)))
    if not found.loose and not found.entries:
        raise UserError(f"{where}: no record (*.json) found; expected record files, or folders "
                        "that hold them")
    loose, lines = read_sound(found.loose)
    lines += [f"left out: {file}: not part of an entry, but among entries" for file in found.strays]
    entries = []
    for folder, cells in found.entries.items():
        entry = check_entry(folder)
        lines += _lines(entry)
        if entry.is_sound:
            entries.append((entry, [(path, entry.cells[path.name]) for path in cells]))
    records, repeated = one_of_each_control(label_entries(loose, entries))
    lines += repeated
    if not records:
        others = f" (and {len(lines) - 1} more lines like it)" if len(lines) > 1 else ""
        reason = lines[0] if lines else "expected the cells of an entry"
        raise UserError(f"{where}: no record is left; {reason}{others}")
    refuse_two_of_one_cell(records)
    for line in lines:
        log(line)
    return records


def read_sound(files: Iterable[Path]) -> tuple[RecordFiles, list[str]]:
    """The records in files, and a line about each that is broken and skipped."""
    records, lines = [], []
    for file in files:
        try:
            records.append((file, Record.read(file)))
        except UserError as error:
            lines.append(f"skipped: {error}")
    return records, lines


def one_of_each_control(records: RecordFiles) -> tuple[RecordFiles, list[str]]:
    """The records without the controls that were run more than once, and a line that says so.

    A run with `--controls` has controls of its own beside those of others. The first ones stay: in
    `compare DEFENSE MINE OTHERS` those of the defense's own run.
    """
    first: dict[str, tuple[Path, Record]] = {}
    left = [pair for pair in records if pair[1].defense.name not in SHARED
            or first.setdefault(cell_of(pair[1]), pair) is pair]
    kept = {path for path, _ in left}
    again = [path for path, _ in records if path not in kept]
    if not again:
        return left, []
    records_again = number(len(again), "record")
    return left, [f"left out: {records_again} of controls that an earlier folder has too, for "
                  f"instance {again[0]}"]


def refuse_two_of_one_cell(records: RecordFiles) -> None:
    """Raise UserError, with both paths, if two different records are of the same cell."""
    first: dict[str, Path] = {}
    for path, record in records:
        other = first.setdefault(cell_of(record), path)
        if other is not path:
            raise UserError(f"{other} and {path}: two different records of one cell, with the same "
                            f"settings and seed {record.seed}; expected one of them")


def read_manifest(folder: Path) -> Manifest:
    """The manifest of the entry in a folder. Raises UserError if it is missing or broken."""
    try:
        return parse_as(Manifest, read_bytes(folder / FILE, MOST_MANIFEST))
    except InvalidFile as error:
        raise UserError(f"{folder / FILE}: {error.key}: {error.what}") from None


# Which files are records of entries.

@dataclass(frozen=True)
class _Found:
    """The files of records outside of entries, of strays among entries, and of entries' cells."""

    loose: list[Path]
    strays: list[Path]
    entries: dict[Path, list[Path]]


def _find(paths: Sequence[Path]) -> _Found:
    """The files in some files and folders that can be records, each once.

    A file in the folder of an entry is one of its cells or, as any other file that lies among
    entries, none at all: `validate` refuses it.
    """
    files: dict[Path, tuple[Path, Path | None]] = {}  # by the absolute path
    for path in paths:
        candidates = sorted(path.rglob("*.json")) if path.is_dir() else [path]
        for file in candidates:
            folder = _entry_folder(file, path)
            if folder is not None or _may_be_record(file, path):
                files.setdefault(file.absolute(), (file, folder))
    loose, entries = [], {}
    for file, folder in files.values():
        if folder is None:
            loose.append(file)
            continue
        cells = entries.setdefault(folder, [])
        if file.parent.name == CELLS and file.parent.parent == folder:
            cells.append(file)
    strays = [file for file in loose if _is_among(file, entries)]
    return _Found([file for file in loose if file not in strays], strays, entries)


def _may_be_record(file: Path, root: Path) -> bool:
    """Whether a JSON file outside of entries can be a record, by its name and folder."""
    inside = file.relative_to(root).parts
    if file.parent.name == RERUNS or NOT_CELLS.intersection(inside[:-1]):
        return False
    # Hidden files and folders are drafts that a killed process left.
    return not any(part.startswith(".") for part in inside)


def _entry_folder(file: Path, root: Path) -> Path | None:
    """The folder of the entry that a file in `root` is in, or None."""
    inside = file.relative_to(root).parts
    if any(part.startswith(".") for part in inside):
        return None
    for folder in list(file.parents)[:max(len(inside), 2)]:
        parts = [(folder / FILE).exists(), (folder / CELLS).is_dir()]
        if all(parts) or (any(parts) and _is_place_of_entry(folder)):
            return folder
    return None


def _is_place_of_entry(folder: Path) -> bool:
    """Whether the path of a folder is that of an entry, GRID/SUBJECT/REVISION."""
    parts = folder.absolute().parts
    return len(parts) > 3 and parts[-3] in [grid.name for grid in frozen_grids.frozen()]


def _is_among(file: Path, entries: Iterable[Path]) -> bool:
    """Whether a file lies in the folder of entries, or in that of their grid."""
    parents = file.absolute().parents
    for folder in entries:
        if _is_place_of_entry(folder):
            grid = folder.absolute().parents[1]
            if grid in parents or parents[0] == grid.parent:
                return True
    return False


def _lines(entry: CheckedEntry) -> list[str]:
    """Why an entry is left out, or has no rank; [] for one that has."""
    if not entry.is_sound:
        first, *more = (problem for problem in entry.problems if problem.grave)
        others = f" (and {len(more)} more errors; see crowdbench validate)" if more else ""
        return [one_line(f"left out: {first.path}: {first.key}: {first.what}") + others]
    if entry.detects:
        return [one_line(f"without a rank: {entry.folder}: {entry.manifest.defense.name} detects "
                         "and repairs nothing; it is in the table of detectors")]
    return [one_line(f"without a rank: {problem.path}: {problem.key}: {problem.what}")
            for problem in entry.problems]
