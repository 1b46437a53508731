"""Entries of the leaderboard, checked without running or fetching anything: is it all there, and does it agree?

What is found wrong is an error; cells of the grid that are not there make an entry incomplete, which may be. Whether a
counter did count what a record says, nothing here can tell: that takes the published revision, or a rerun.
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
from benchmark.leaderboard.manifest import (CELLS, FILE, MOST_CELLS, MOST_MANIFEST, MOST_TOTAL, RERUNS, Manifest,
                                            chosen, revision)
from benchmark.results.record import Record
from benchmark.utils.errors import UserError, did_you_mean
from benchmark.utils.strict_json import MOST_BYTES, InvalidFile, load, read_bytes, shown

LEVELS = 3  # protocol, defense, revision
MOST_SHOWN = 20  # errors of one entry; a check stops there


@dataclass(frozen=True)
class Finding:
    """What is wrong, where. grave: an error; else the entry is merely incomplete."""

    path: str
    key: str
    what: str
    grave: bool = True

    def line(self) -> str:
        kind = "error" if self.grave else "incomplete: shown, unranked"
        return shown(f"{kind}: {self.path}: {self.key}: {self.what}")


@dataclass(frozen=True)
class Checked:
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
        return shown(f"ok: {self.path}: {self.defense} on {self.protocol}: {self.cells} cells, seeds {seeds}, tier: "
                     f"{self.tier}")


@dataclass
class Report:
    """What was found."""

    entries: list[Checked] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether there is no error."""
        return not any(finding.grave for finding in self.findings)

    def text(self) -> str:
        errors = sum(finding.grave for finding in self.findings)
        return "\n".join([*(one.line() for one in (*self.entries, *self.findings)),
                          f"{len(self.entries)} entries without errors, {errors} errors"])

    def to_dict(self) -> dict[str, Any]:
        return {"ok": self.ok, "entries": [asdict(entry) for entry in self.entries],
                "findings": [asdict(finding) for finding in self.findings]}


def validate(paths: Sequence[Path], against: Path | None = None) -> Report:
    """Check every entry in some folders.

    against: the one folder as it was before; an entry of it that is not as it was is an error.

    Raises:
        UserError: a path is no folder, or `against` goes with several.
    """
    for path in [*paths, *([against] if against else [])]:
        if not path.is_dir():
            raise UserError(f"validate {path}: expected a folder of entries")
    if against and len(paths) != 1:
        raise UserError(f"validate --against {against}: expected one folder beside it, got {len(paths)}")
    report = Report()
    for root in paths:
        for one in _checked(root):
            (report.entries if isinstance(one, Checked) else report.findings).append(one)
        report.findings += _changes(root, against) if against else []
    return report


def _checked(root: Path) -> Iterator[Checked | Finding]:
    for one in _entries(root):
        yield from [one] if isinstance(one, Finding) else _entry(one)


def _entries(root: Path, level: int = 0) -> Iterator[Path | Finding]:
    """The folders that hold entries; what is neither that nor on the way there is a finding."""
    inside = sorted((item for item in os.scandir(root) if not (item.is_dir() and item.name.startswith("."))),
                    key=lambda item: item.name)  # hidden: the draft of an entry, from a process that was killed
    if any(item.name in (FILE, CELLS) for item in inside):
        yield root
    elif level == LEVELS:
        yield Finding(str(root), "file", f"expected {FILE} and {CELLS}")
    else:
        for item in inside:
            if item.is_dir(follow_symlinks=False):
                yield from _entries(root / item.name, level + 1)
            elif item.name != "README.md" or item.is_symlink():
                yield Finding(str(root / item.name), "file", f"expected only PROTOCOL/DEFENSE/REVISION/{FILE} here")


def _entry(folder: Path) -> Iterator[Checked | Finding]:
    """An entry's errors, as many as are shown; else what it lacks, and itself."""
    try:
        manifest, cells = _read(folder)
        again = _reruns(folder)
    except _Wrong as wrong:
        yield wrong.finding
        return
    defense, grid = manifest.defense, next(one for one in frozen_grids.frozen() if one.name == manifest.protocol)
    errors = list(islice(consistency.check(cells, defense, grid), MOST_SHOWN))
    for name, key, what in errors:
        yield Finding(str(folder / CELLS / name), key, what)
    said = reruns.verdicts(list(cells.values()), list(again.values())) if not errors else []
    for name, verdict in zip(again, said):
        if verdict not in (reruns.SAME, reruns.ALIKE):
            errors.append((name, "rerun", verdict))
            yield Finding(str(folder / RERUNS / name), "rerun",
                          f"{verdict}; expected another run of a cell of the entry, and its counts")
    if not errors:
        tier = reruns.tier(list(cells.values()), list(again.values()))
        lacking = list(consistency.missing(cells, defense, grid))
        yield from (Finding(str(folder), key, what, grave=False) for _, key, what in lacking)
        yield Checked(str(folder), manifest.protocol, defense.name, len(cells),
                      sorted({record.seed for record in cells.values()}), not lacking, tier)


class _Wrong(Exception):
    """An entry that cannot be read further."""

    def __init__(self, path: Path, key: str, what: str):
        super().__init__(what)
        self.finding = Finding(str(path), key, what)


def _read(folder: Path) -> tuple[Manifest, dict[str, Record]]:
    """What an entry holds, if it is what its path and its manifest say. Raises _Wrong."""
    names, path = _listed(folder), folder / FILE
    try:
        manifest = load(Manifest, read_bytes(path, MOST_MANIFEST))
        digests, cells = {}, {}
        for name in names:
            path = folder / CELLS / name
            data = read_bytes(path)
            digests[name], cells[name] = hashlib.sha256(data).hexdigest(), Record.parse(data)
    except InvalidFile as refused:
        raise _Wrong(path, refused.key, refused.what) from None
    for name in sorted(manifest.cells.keys() | digests.keys()):
        if manifest.cells.get(name) != digests.get(name):
            raise _Wrong(folder / CELLS / name, "sha256", f"{digests.get(name, 'no such file')}; {FILE} says "
                         f"{manifest.cells.get(name, 'nothing of it')}")
    expected = (manifest.protocol, manifest.defense.name, revision(digests))
    if Path(os.path.abspath(folder)).parts[-LEVELS:] != expected:
        raise _Wrong(folder, "path", f"what it holds belongs in {'/'.join(expected)}")
    frozen = [grid.name for grid in frozen_grids.frozen()]
    if manifest.protocol not in frozen:
        raise _Wrong(folder / FILE, "protocol", f"no such frozen grid: {did_you_mean(manifest.protocol, frozen)}")
    own = manifest.defense
    if own != chosen(own) or own.name == consistency.UNDEFENDED:
        raise _Wrong(folder / FILE, "defense", "expected the name, version and settings of a defense")
    if own not in [chosen(record.defense) for record in cells.values()]:
        raise _Wrong(folder / FILE, "defense", f"no cell is of {own.name} {own.resolved}, version {own.version}")
    return manifest, cells


def _reruns(folder: Path) -> dict[str, Record]:
    """The records of cells that were run again, by their files' names. Raises _Wrong."""
    if not (folder / RERUNS).is_dir():
        return {}
    found = {}
    for name in _records_in(folder / RERUNS):
        try:
            found[name] = Record.parse(read_bytes(folder / RERUNS / name))
        except InvalidFile as refused:
            raise _Wrong(folder / RERUNS / name, refused.key, refused.what) from None
    return found


def _listed(folder: Path) -> list[str]:
    """The names of an entry's cells, by looking at sizes alone. Raises _Wrong."""
    for path, is_kind, kind in ((folder / FILE, Path.is_file, "file"), (folder / CELLS, Path.is_dir, "folder")):
        if path.is_symlink() or not is_kind(path):
            raise _Wrong(path, "file", f"expected a {kind} here, and no link")
    for item in os.scandir(folder):
        if item.name not in (FILE, CELLS, RERUNS) or (item.name == RERUNS and not item.is_dir(follow_symlinks=False)):
            raise _Wrong(folder / item.name, "file", f"unexpected beside {FILE}, {CELLS} and the folder {RERUNS}")
    return _records_in(folder / CELLS)


def _records_in(folder: Path) -> list[str]:
    """The names of the records in a folder, not too many and none too large. Raises _Wrong."""
    total, names = 0, []
    for item in os.scandir(folder):
        path = folder / item.name
        if not item.is_file(follow_symlinks=False) or not item.name.endswith(".json"):
            raise _Wrong(path, "file", "expected only records (*.json) here, and no links")
        size = item.stat(follow_symlinks=False).st_size
        total, names = total + size, [*names, item.name]
        if size > MOST_BYTES:
            raise _Wrong(path, "file", f"{size} bytes; expected at most {MOST_BYTES}")
        if total > MOST_TOTAL or len(names) > MOST_CELLS:
            raise _Wrong(folder, "file", f"expected at most {MOST_CELLS} records of {MOST_TOTAL} bytes in all")
    return sorted(names)


def _changes(root: Path, before: Path) -> Iterator[Finding]:
    """What was published and is no longer what it was. Under a revision nothing changes, entry.json neither; cells that
    were run again may be added."""
    for old in _entries(before):
        if isinstance(old, Finding):
            continue  # it was no entry
        new = root / old.relative_to(before)
        if not new.is_dir():
            yield Finding(str(new), "entry", "was published and is gone; expected it as it was")
            continue
        added = {name for name in _files(new) - _files(old) if Path(name).parts[0] == RERUNS}
        for name in sorted((_files(old) | _files(new)) - added):
            if not _same(old / name, new / name):
                yield Finding(str(new / name), "file", "is not what was published; a change is another revision")
    for new in _entries(root):
        if isinstance(new, Path) and (new / RERUNS).exists() and not (before / new.relative_to(root)).exists():
            yield Finding(str(new / RERUNS), "file", "expected none in a new entry: others run its cells again")


def _files(folder: Path) -> set[str]:
    return {os.path.relpath(os.path.join(here, name), folder) for here, _, names in os.walk(folder) for name in names}


def _same(old: Path, new: Path) -> bool:
    both = old.is_file() and new.is_file() and not new.is_symlink()
    return both and filecmp.cmp(old, new, shallow=False)  # of other sizes it reads none
