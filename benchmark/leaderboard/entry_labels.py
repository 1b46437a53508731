"""Entry labels: which entry and which victims each record is of, and which records are the same.

The victims of two entries have the same settings but not the same weights, so a defense is compared
with others only on the victims that it repaired. The records of no defense and of the controls that
several entries hold alike are kept once.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.leaderboard.copies import TOLERANCE
from benchmark.leaderboard.manifest import UNDEFENDED
from benchmark.leaderboard.validate import CheckedEntry
from benchmark.results.controls import SHARED
from benchmark.results.record import Record
from benchmark.results.scenarios import cell_of, entry_of, settings_of

NO_ENTRY = "of no entry"  # the label of victims that no entry holds
LABELS = ("entry", "attack_entry", "victims")  # keys of the provenance of a record
RecordFiles = list[tuple[Path, Record]]
Digests = dict[str, str]  # hashes of counts, by the cell
CleanCounts = dict[str, list[float]]  # of clean counters, by their settings and seed


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
    return _without_repeated(list(_label(loose, entries)))


def _label(loose: RecordFiles, entries: Iterable[tuple[CheckedEntry, RecordFiles]]
           ) -> Iterator[tuple[Path, Record, bool]]:
    """The records with their labels, and whether each lies outside of entries.

    Entries of attacks come last, since they can have the clean counters of an entry of a defense.
    """
    entries = sorted(entries, key=lambda entry: entry[0].manifest.attack is not None)
    known_victims: list[tuple[str | None, Digests]] = []
    known_clean: list[tuple[str | None, CleanCounts]] = []
    has_attacks = any(entry.manifest.attack for entry, _ in entries)
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
            label = _entry_label(entry, facts, record)
            yield path, _labelled(record, victims=victims, **label), entry is None


def _without_repeated(files: Sequence[tuple[Path, Record, bool]]) -> RecordFiles:
    """The records without those that `label_entries` drops. files: what `_label` gives."""
    entered = {_cell_and_counts(record) for _, record, _ in files if _is_entered(record)}
    left, seen = [], set()
    kept: dict[str, list[Record]] = {}
    for path, record, is_outside in files:
        cell, counts = cell_of(record), _cell_and_counts(record)
        is_repeated = record in kept.setdefault(cell, [])
        is_shared = not is_outside and (cell, counts) in seen
        was_entered = counts in entered and not _is_entered(record)
        if not (is_repeated or is_shared or was_entered):
            left.append((path, record))
            kept[cell].append(record)
        seen.add((cell, counts))
    return left


def _is_entered(record: Record) -> bool:
    """Whether a record is of the defense or the attack of an entry, by its labels."""
    return bool(entry_of(record) or entry_of(record, "attack_entry"))


def _cell_and_counts(record: Record) -> tuple[str, str]:
    """The cell of a record, whichever entry it is of, and a hash of its counts."""
    victims = record.provenance.get("victims")
    return cell_of(_labelled(record, victims=victims)), _digest(record)


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
