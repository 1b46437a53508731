"""Validation: checks the entries of the leaderboard without running or downloading anything.

An entry must be whole and consistent. Anything else is an error; an entry that lacks cells of its
grid is incomplete, which is allowed. The check cannot tell whether a counter did give the counts of
a record: that takes the published revision, or a rerun. `leaderboard` shows only the entries that
pass it.
"""

import filecmp
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any

from benchmark.config import frozen_grids
from benchmark.leaderboard import consistency, reruns
from benchmark.leaderboard.attack_checks import check_attack_record
from benchmark.leaderboard.entry_files import (BrokenEntry, Problem, find_entries, read_entry,
                                               read_reruns, read_verification)
from benchmark.leaderboard.grid_slots import find_slot
from benchmark.leaderboard.manifest import (CELLS, FILE, MOST_MANIFEST, RERUNS, VERIFICATION,
                                            Manifest)
from benchmark.leaderboard.record_checks import check_content
from benchmark.leaderboard.required_fields import check_fields
from benchmark.leaderboard.verification import Verification, check_verification
from benchmark.results.record import Record
from benchmark.utils.errors import UserError
from benchmark.utils.human import number
from benchmark.utils.strict_json import InvalidFile, one_line, parse_as, read_bytes

MOST_SHOWN = 20  # problems of the records of one entry, after which the check of it stops


@dataclass(frozen=True)
class CheckedEntry:
    """An entry that was checked.

    manifest, cells: None and empty if it is broken, so that they could not be read.
    problems: errors, or what it lacks. tier: the extent to which others checked it, see
        `reruns.tier` and `Verification.tier`.
    """

    folder: Path
    manifest: Manifest | None
    cells: Mapping[str, Record]
    problems: Sequence[Problem]
    tier: str = ""

    @property
    def is_sound(self) -> bool:
        """Whether it has no error."""
        return not any(problem.grave for problem in self.problems)

    @property
    def detects(self) -> bool:
        """Whether its defense is a detector, which repairs nothing and so has no rank."""
        own = self.manifest.defense
        return own is not None and any(
            record.defense.name == own.name and record.detection
            and record.detection.of != "training images" for record in self.cells.values())

    @property
    def complete(self) -> bool:
        """Whether it is sound and lacks no cell."""
        return not self.problems

    @property
    def path(self) -> str:
        return str(self.folder)

    def to_dict(self) -> dict[str, Any]:
        manifest = self.manifest
        return {"path": self.path, "protocol": manifest.protocol,
                "defense" if manifest.defense else "attack": manifest.subject,
                "cells": len(self.cells),
                "seeds": sorted({record.seed for record in self.cells.values()}),
                "complete": self.complete, "tier": self.tier}

    def line(self) -> str:
        facts = self.to_dict()
        seeds = ", ".join(map(str, facts["seeds"]))
        return one_line(f"ok: {self.folder}: {self.manifest.subject} on {facts['protocol']}: "
                        f"{facts['cells']} cells, seeds {seeds}, tier: {self.tier}")


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
        sound = number(len(self.entries), "entry", "entries")
        return "\n".join([*lines, f"{sound} without errors, {number(errors, 'error')}"])

    def to_dict(self) -> dict[str, Any]:
        return {"ok": self.ok, "entries": [entry.to_dict() for entry in self.entries],
                "findings": [problem.to_dict() for problem in self.problems]}


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
        for item in find_entries(root):
            if isinstance(item, Problem):
                report.problems.append(item)
                continue
            entry = check_entry(item)
            report.problems += entry.problems
            if entry.is_sound:
                report.entries.append(entry)
        if against:
            report.problems += _check_unchanged(root, against)
    return report


def check_entry(folder: Path) -> CheckedEntry:
    """An entry with its errors or, without any, with what it lacks.

    Errors of cells are cut off after MOST_SHOWN.
    """
    try:
        manifest, cells = read_entry(folder)
        rerun_files = read_reruns(folder)
        commit, verified = read_verification(folder)
    except BrokenEntry as error:
        return CheckedEntry(folder, None, {}, [error.problem])
    except OSError as error:
        path, reason = error.filename or folder, error.strerror or str(error)
        return CheckedEntry(folder, None, {}, [Problem(str(path), "file", reason)])
    grid = next(grid for grid in frozen_grids.frozen() if grid.name == manifest.protocol)
    problems = [Problem(str(folder / CELLS / file), key, message) for file, key, message in
                islice(consistency.check(cells, manifest, grid), MOST_SHOWN)]
    records, rerun_records = list(cells.values()), list(rerun_files.values())
    if not problems:
        problems = [Problem(str(folder / RERUNS / file), key, message) for file, key, message in
                    islice(_check_reruns(records, rerun_files, manifest, grid), MOST_SHOWN)]
    if not problems and verified:
        problems = [Problem(str(folder / VERIFICATION / file), key, message) for file, key, message
                    in islice(check_verification(commit, verified, manifest, records, grid),
                           MOST_SHOWN)]
    if problems:
        return CheckedEntry(folder, manifest, cells, problems)
    problems = [Problem(str(folder), key, message, grave=False)
                for _, key, message in consistency.missing(cells, manifest, grid)]
    tier = reruns.tier(records, rerun_records)
    if verified:
        tier = _with_verification(tier, Verification.of(
            manifest, records, commit, list(verified.values())))
    return CheckedEntry(folder, manifest, cells, problems, tier)


def _with_verification(tier: str, verification: Verification) -> str:
    """The tier of an entry that was verified. tier: what its reruns give."""
    return verification.tier if tier == reruns.RECOMPUTED else f"{verification.tier}; {tier}"


def _check_reruns(cells: Sequence[Record], rerun_files: Mapping[str, Record], manifest: Manifest,
                  grid: frozen_grids.FrozenGrid) -> Iterator[consistency.FileProblem]:
    """The problems of the reruns of an entry: each is a sound record of another run of a cell."""
    verdicts = reruns.verdicts(cells, list(rerun_files.values()))
    for (file, record), verdict in zip(rerun_files.items(), verdicts):
        if verdict not in (reruns.SAME, reruns.ALIKE):
            yield file, "rerun", (f"{verdict}; expected a run of a cell on another machine, with "
                                  "the entry's counts")
            continue
        try:
            check_fields(record)
            slot = find_slot(record, consistency.slots_of(manifest, grid))
        except InvalidFile as error:
            yield file, error.key, error.what
            continue
        measured = check_attack_record(record) if manifest.attack else ()
        for key, message in chain(check_content(record, slot, grid), measured):
            yield file, key, message


def _check_unchanged(root: Path, published: Path) -> Iterator[Problem]:
    """The published entries that have changed or are gone, and new entries that bring reruns.

    No file of a published revision may change, but reruns may be added, and the addresses in
    entry.json may be corrected. A verification is not added by a pull request.
    """
    for old in find_entries(published):
        if isinstance(old, Problem):
            continue
        new = root / old.relative_to(published)
        if not new.is_dir():
            yield Problem(str(new), "entry", "is gone; expected the published entry, unchanged")
            continue
        old_files, new_files = _files(old), _files(new)
        told_below = set() if (old / VERIFICATION).exists() else {VERIFICATION}
        added = {file for file in new_files - old_files
                 if Path(file).parts[0] in {RERUNS} | told_below}
        for file in sorted((old_files | new_files) - added):
            is_corrected = file == FILE and _differ_in_addresses(old / file, new / file)
            if not is_corrected and not _are_same(old / file, new / file):
                yield Problem(str(new / file), "file", "differs from what was published; expected "
                              "no change, or a new revision")
    for new in find_entries(root):
        if isinstance(new, Problem):
            continue
        old = published / new.relative_to(root)
        if (new / VERIFICATION).exists() and not (old / VERIFICATION).exists():
            yield Problem(str(new / VERIFICATION), "file", "added; expected that only a maintainer "
                          "adds it, after the entry was published")
        if (new / RERUNS).exists() and not old.exists():
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


def _differ_in_addresses(old: Path, new: Path) -> bool:
    """Whether two manifests are alike but for the addresses of the paper and of the code."""
    try:
        manifests = [parse_as(Manifest, read_bytes(path, MOST_MANIFEST)) for path in (old, new)]
    except InvalidFile:
        return False
    old_facts, new_facts = (manifest.model_dump(exclude={"paper", "code"})
                            for manifest in manifests)
    return old_facts == new_facts
