"""Record files: the records in files and folders, labelled with their entries and their victims.

An entry is read as `validate` reads it, and shown only if it has no error. The victims of two
entries have the same settings but not the same weights, so a defense is compared with others only
on the victims that it repaired. The records of no defense and of the controls that several entries
hold alike are kept once.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.config import frozen_grids
from benchmark.leaderboard.copies import TOLERANCE
from benchmark.leaderboard.manifest import (CELLS, FILE, MOST_MANIFEST, RERUNS, UNDEFENDED,
                                            VERIFICATION, Manifest)
from benchmark.leaderboard.validate import CheckedEntry, check_entry
from benchmark.results.controls import SHARED
from benchmark.results.record import Record
from benchmark.results.scenarios import cell_of, entry_of, settings_of
from benchmark.utils.errors import UserError, shown
from benchmark.utils.human import number
from benchmark.utils.progress import log
from benchmark.utils.strict_json import InvalidFile, one_line, parse_as, read_bytes

# Folders beside records whose JSON files, at any depth, are not cells.
NOT_CELLS = {RERUNS, VERIFICATION, "tables", "zoo", "dataset"}
NO_ENTRY = "of no entry"  # the label of victims that no entry holds
LABELS = ("entry", "attack_entry", "victims")  # keys of the provenance of a record
RecordFiles = list[tuple[Path, Record]]
Digests = dict[str, str]  # hashes of counts, by the cell
CleanCounts = dict[str, list[float]]  # of clean counters, by their settings and seed


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


# Labels.

def label_entries(loose: RecordFiles,
                  entries: Iterable[tuple[CheckedEntry, RecordFiles]] = ()) -> RecordFiles:
    """Label records with the entry and the victims that they belong to, and drop repeated ones.

    `provenance["entry"]` gets the entry's path, the name, paper and code of its manifest, its tier
    (see `reruns`), and what it lacks to be ranked. The records of no defense and of the controls do
    not get it. All records of an entry of an attack get the same under `attack_entry` instead. A
    record outside of any entry gets neither, whatever its file says.
    `provenance["victims"]` gets the path of the first entry with the same victims, or NO_ENTRY; no
    record gets it where there is no entry at all. The victims of an entry of an attack are its own;
    where it started from the clean counters of others, it gets the label of these.
    A record is dropped if it is the same as an earlier one. Where a record of no defense or of a
    control is in several places, the first one stays. Where a record of the entered defense or
    attack also lies outside of entries, with the same counts, the entry's stays.
    """
    entries = sorted(entries, key=lambda entry: entry[0].manifest.attack is not None)
    known_victims: list[tuple[str | None, Digests]] = []
    known_clean: list[tuple[str | None, CleanCounts]] = []
    has_attacks = any(entry.manifest.attack for entry, _ in entries)
    labelled: list[tuple[tuple[Path, Record], tuple[str, str]]] = []
    kept: dict[str, list[Record]] = {}
    seen, entered = set(), set()
    groups = [(None, loose)] if loose else []
    for entry, files in [*groups, *entries]:
        facts = entry and _describe(entry)
        plain = [(path, _labelled(record)) for path, record in files]
        own_label = facts["path"] if facts else (NO_ENTRY if entries else None)
        whole = entry.cells.values() if entry else [record for _, record in plain]
        whole = [_labelled(record) for record in whole]
        if entry and entry.manifest.attack:
            victims = _clean_label(whole, known_clean, own_label)
        else:
            victims = _victims_label(whole, known_victims, own_label)
        if has_attacks:
            known_clean.append((victims, _clean_counts(whole)))
        for path, record in plain:
            digest, label = _digest(record), _entry_label(entry, facts, record)
            unentered = cell_of(_labelled(record, victims=victims)), digest
            record = _labelled(record, victims=victims, **label)
            cell = cell_of(record)
            is_repeated = record in kept.setdefault(cell, [])
            if not is_repeated and (entry is None or (cell, digest) not in seen):
                labelled.append(((path, record), unentered))
                kept[cell].append(record)
            seen.add((cell, digest))
            if label:
                entered.add(unentered)
    return [file for file, unentered in labelled
            if unentered not in entered or _is_entered(file[1])]


def _is_entered(record: Record) -> bool:
    """Whether a record is of the defense or the attack of an entry, by its labels."""
    return bool(entry_of(record) or entry_of(record, "attack_entry"))


def read_manifest(folder: Path) -> Manifest:
    """The manifest of the entry in a folder. Raises UserError if it is missing or broken."""
    try:
        return parse_as(Manifest, read_bytes(folder / FILE, MOST_MANIFEST))
    except InvalidFile as error:
        raise UserError(f"{folder / FILE}: {error.key}: {error.what}") from None


def _describe(entry: CheckedEntry) -> dict[str, str]:
    """The facts of an entry that tables and the page show."""
    manifest = entry.manifest
    facts = {"path": "/".join(entry.folder.absolute().parts[-2:]), "name": manifest.name,
             "paper": manifest.paper, "code": manifest.code, "tier": entry.tier}
    lacks = "; ".join(problem.what for problem in entry.problems)
    return facts | ({"lacks": lacks} if lacks else {})


def _entry_label(entry: CheckedEntry | None, facts: dict[str, str] | None,
                 record: Record) -> dict[str, Any]:
    """The label of a record of an entry, by its key in the provenance; {} for none."""
    if entry is None:
        return {}
    if entry.manifest.attack:
        return {"attack_entry": facts}
    return {} if record.defense.name in SHARED else {"entry": facts}


def _labelled(record: Record, **labels: Any) -> Record:
    """A record with these labels, or without, in place of those in its file."""
    provenance = {key: value for key, value in record.provenance.items() if key not in LABELS}
    provenance |= {key: label for key, label in labels.items() if label}
    return record.model_copy(update={"provenance": provenance})


def _victims_label(records: Sequence[Record], known: list[tuple[str | None, Digests]],
                   own_label: str | None) -> str | None:
    """The label of the victims of an entry, or of the records outside of entries.

    It is that of the first known victims with the same counts in all cells of no defense and of the
    controls. Without such, it is the own label, and the victims are added to the known ones.
    """
    own = {cell_of(record): _digest(record) for record in records if record.defense.name in SHARED}
    for label, digests in known:
        if own and own.items() <= digests.items():
            return label
    known.append((own_label, own))
    return own_label


def _clean_label(records: Sequence[Record], known: list[tuple[str | None, CleanCounts]],
                 own_label: str | None) -> str | None:
    """The label of the first known clean counters that are those of these records, or the own one.

    The same counter counts alike on another machine, but for rounding.
    """
    own = _clean_counts(records)
    for label, clean in known:
        if own and own.keys() <= clean.keys() and all(
                np.allclose(own[counter], clean[counter], **TOLERANCE) for counter in own):
            return label
    return own_label


def _clean_counts(records: Iterable[Record]) -> CleanCounts:
    """The counts of the clean counters of some records on clean images, by their settings."""
    counts = {}
    for record in records:
        if record.images.reference_clean is not None:
            settings = settings_of(record.model_copy(update={"attack": None,
                                                             "defense": UNDEFENDED}))
            key = json.dumps([settings, record.seed], sort_keys=True)
            counts[key] = record.images.reference_clean
    return counts


def _digest(record: Record) -> str:
    """A hash of the counts of a record."""
    return hashlib.sha256(record.images.model_dump_json().encode()).hexdigest()

