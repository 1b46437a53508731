"""Record files: the records in files and folders, labelled with their entries and their victims.

The victims of two entries have the same settings but not the same weights, so a defense is compared
with others only on the victims that it repaired. The records of no defense and of the controls that
several entries hold alike are kept once.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from benchmark.leaderboard.manifest import FILE, MOST_MANIFEST, RERUNS, Manifest
from benchmark.leaderboard.reruns import tier
from benchmark.results.record import Record
from benchmark.results.scenarios import cell_of
from benchmark.tables.controls import SHARED
from benchmark.utils.errors import UserError
from benchmark.utils.strict_json import InvalidFile, parse_as, read_bytes

NOT_CELLS = (RERUNS, "tables")  # folders beside records whose JSON files are not cells
NO_ENTRY = "of no entry"  # the label of victims that no entry holds
RecordFiles = list[tuple[Path, Record]]
Digests = dict[str, str]  # hashes of counts, by the cell


def read_record_files(paths: Sequence[Path]) -> RecordFiles:
    """The records in files and folders, each with its path; see `label_entries`.

    Raises:
        UserError: there is no record, or a record or a manifest is broken.
    """
    files: list[Path] = []
    for path in paths:
        candidates = sorted(path.rglob("*.json")) if path.is_dir() else [path]
        files += [file for file in candidates if _may_be_cell(file, path)]
    if not files:
        raise UserError(f"{', '.join(map(str, paths))}: no record (*.json) found; expected record "
                        "files, or folders that hold them")
    return label_entries([(file, Record.read(file)) for file in files])


def _may_be_cell(file: Path, root: Path) -> bool:
    """Whether a JSON file in a folder can be the record of a cell, by its name and folder."""
    if file.name == FILE or file.parent.name in NOT_CELLS:
        return False
    # Hidden files and folders are drafts that a killed process left.
    return not any(part.startswith(".") for part in file.relative_to(root).parts)


def label_entries(records: RecordFiles) -> RecordFiles:
    """Label records with the entry and the victims that they belong to, and drop repeated ones.

    `provenance["entry"]` gets the entry's path, the name, paper and code of its manifest, and its
    tier (see `reruns`). The records of no defense and of the controls do not get it. Neither does
    a record outside of any entry, whatever its file says.
    `provenance["victims"]` gets the path of the first entry with the same victims, or NO_ENTRY; no
    record gets it where there is no entry at all.
    An entry's record is dropped if its cell and counts are those of a record outside of entries or
    of an earlier entry.

    Raises:
        UserError: a manifest or the record of a rerun is broken.
    """
    by_entry: dict[Path | None, RecordFiles] = {None: []}
    for path, record in records:
        folder = path.parent.parent if (path.parent.parent / FILE).is_file() else None
        by_entry.setdefault(folder, []).append((path, record))
    no_entry = NO_ENTRY if len(by_entry) > 1 else None
    known_victims: list[tuple[str | None, Digests]] = []
    labelled, seen = [], set()
    for folder, files in by_entry.items():
        entry = _describe_entry(folder, [record for _, record in files]) if folder else None
        plain = [(path, _labelled(record, None, None)) for path, record in files]
        own_label = entry["path"] if entry else no_entry
        victims = _victims_label([record for _, record in plain], known_victims, own_label)
        for path, record in plain:
            record = _labelled(record, None if record.defense.name in SHARED else entry, victims)
            identity = cell_of(record), _digest(record)
            if folder is None or identity not in seen:
                labelled.append((path, record))
            seen.add(identity)
    return labelled


def read_manifest(folder: Path) -> Manifest:
    """The manifest of the entry in a folder. Raises UserError if it is missing or broken."""
    try:
        return parse_as(Manifest, read_bytes(folder / FILE, MOST_MANIFEST))
    except InvalidFile as error:
        raise UserError(f"{folder / FILE}: {error.key}: {error.what}") from None


def _describe_entry(folder: Path, cells: Sequence[Record]) -> dict[str, str]:
    """The facts of an entry that tables and the page show. Raises as `label_entries` does."""
    manifest = read_manifest(folder)
    reruns = [Record.read(path) for path in sorted((folder / RERUNS).glob("*.json"))]
    return {"path": "/".join(folder.parts[-2:]), "name": manifest.name, "paper": manifest.paper,
            "code": manifest.code, "tier": tier(cells, reruns)}


def _labelled(record: Record, entry: dict[str, str] | None, victims: str | None) -> Record:
    """A record with these labels, or without, in place of those in its file."""
    provenance = {**record.provenance}
    for key, label in (("entry", entry), ("victims", victims)):
        provenance.pop(key, None)
        if label:
            provenance[key] = label
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


def _digest(record: Record) -> str:
    """A hash of the counts of a record."""
    return hashlib.sha256(record.images.model_dump_json().encode()).hexdigest()

