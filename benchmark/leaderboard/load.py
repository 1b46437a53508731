"""Records from files: which belong to an entry of the leaderboard, and which entries share their victims.

Everybody's victims have the same settings, but not the same weights: a defense is compared on those that it repaired.
What several entries hold alike, of no defense and of the controls, is kept once.
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
from benchmark.utils.strict_json import InvalidFile, load, read_bytes

BESIDE = (RERUNS, "tables")  # folders of other JSON, where records lie
NO_ENTRY = "of no entry"  # whose victims they are that no entry has
Found = list[tuple[Path, Record]]


def collect(given: Sequence[Path]) -> Found:
    """The records in files and folders, each with its path; see `of_entries`.

    Raises:
        UserError: there is none, or one is broken.
    """
    paths = [path for part in given for path in (sorted(part.rglob("*.json")) if part.is_dir() else [part])
             if path.name != FILE and path.parent.name not in BESIDE
             and not any(name.startswith(".") for name in path.relative_to(part).parts)]  # what a killed process left
    if not paths:
        raise UserError(f"no record (*.json) in {', '.join(map(str, given))}")
    return of_entries([(path, Record.read(path)) for path in paths])


def of_entries(found: Found) -> Found:
    """Records that say of which entry they are, and of whose victims, and each once.

    `provenance["entry"]` gets the entry's path, its manifest's name, paper and code, and its tier, see `reruns`;
    `provenance["victims"]` the path of the first entry with the same victims, or NO_ENTRY. A record of no entry has not
    the first, whatever it says itself, and where there is no entry at all, no record has the second.
    """
    sources: dict[Path | None, Found] = {None: []}
    for path, record in found:
        folder = path.parent.parent
        sources.setdefault(folder if (folder / FILE).is_file() else None, []).append((path, record))
    groups: list[tuple[str | None, dict[str, str]]] = []
    kept, seen = [], set()
    others = NO_ENTRY if len(sources) > 1 else None
    for folder, records in sources.items():
        entry = folder and _entry(folder, [record for _, record in records])
        plain = [(path, _told(record, None, None)) for path, record in records]
        label = _victims(plain, groups, entry["path"] if entry else others)
        for path, record in plain:
            own = entry if record.defense.name not in SHARED else None
            told = _told(record, own, label)
            same = cell_of(told), _digest(told)
            kept += [(path, told)] if folder is None or same not in seen else []
            seen.add(same)
    return kept


def manifest(folder: Path) -> Manifest:
    """What an entry says of itself. Raises UserError if it is not that."""
    try:
        return load(Manifest, read_bytes(folder / FILE, MOST_MANIFEST))
    except InvalidFile as refused:
        raise UserError(f"{folder / FILE}: {refused.key}: {refused.what}") from None


def _entry(folder: Path, cells: Sequence[Record]) -> dict[str, str]:
    """What is shown of an entry. Raises UserError as `manifest` does, or if a record of a rerun is broken."""
    told, again = manifest(folder), [Record.read(path) for path in sorted((folder / RERUNS).glob("*.json"))]
    return {"path": "/".join(folder.parts[-2:]), "name": told.name, "paper": told.paper, "code": told.code,
            "tier": tier(cells, again)}


def _told(record: Record, entry: dict[str, str] | None, victims: str | None) -> Record:
    provenance = {key: value for key, value in record.provenance.items() if key not in ("entry", "victims")}
    provenance |= {"entry": entry} if entry else {}
    return record.model_copy(update={"provenance": provenance | ({"victims": victims} if victims else {})})


def _victims(records: Found, groups: list[tuple[str | None, dict[str, str]]], own: str | None) -> str | None:
    """The label of the victims of an entry: of the first source that holds all that it shares, and alike."""
    shared = {cell_of(record): _digest(record) for _, record in records if record.defense.name in SHARED}
    for label, there in groups:
        if shared and all(there.get(cell) == digest for cell, digest in shared.items()):
            return label
    groups.append((own, shared))
    return own


def _digest(record: Record) -> str:
    return hashlib.sha256(record.images.model_dump_json().encode()).hexdigest()
