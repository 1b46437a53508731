"""Submission: builds a leaderboard entry from the records of a run.

The submitter states the name, the paper and the code. Everything else follows from the records.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from benchmark.config import frozen_grids
from benchmark.leaderboard.attack_slots import belongs
from benchmark.leaderboard.choosing import choosing_flags, find_attack, wanted_settings
from benchmark.leaderboard.component_checks import check_name
from benchmark.leaderboard.grid_slots import victim_settings
from benchmark.leaderboard.load import read_sound
from benchmark.leaderboard.manifest import (CELLS, FILE, UNDEFENDED, Manifest, attack_of, identity,
                                            revision, without_given)
from benchmark.leaderboard.validate import CheckedEntry, check_entry
from benchmark.registry import checked
from benchmark.results.controls import SHARED
from benchmark.results.record import Choice, Record
from benchmark.utils.errors import UserError, did_you_mean
from benchmark.utils.files import publish, whole_folder, write_atomically
from benchmark.utils.progress import log
from benchmark.utils.strict_json import one_line
from benchmark.version import __version__

Records = dict[Path, Record]


def submit(run: Path, defense: str, name: str, paper: str, code: str, out: Path,
           settings: Sequence[str] = ()) -> Path:
    """Write the entry out/PROTOCOL/DEFENSE/REVISION, whole or not at all, and return its folder.

    The entry holds the records of the defense, and those of no defense and of the controls on the
    same victims. What it lacks to be ranked is printed to stderr. Where the entry exists, only the
    addresses of its paper and its code are written again.

    run: the output folder of `crowdbench run`, or a folder of records.
    settings: 'defense.KEY=VALUE', to choose one if the run holds several settings of the defense,
        or 'defense.version=VERSION' if it holds several versions.

    Raises:
        UserError: the run has no such defense in a frozen grid, or several; the entry would have an
            error; or it exists already, with the same addresses or under another name.
    """
    of_attacks = {grid.name for grid in frozen_grids.frozen() if grid.takes_attacks}
    records = {path: record for path, record in
               _frozen_records(run, "standard --defense NAME").items()
               if record.protocol not in of_attacks}
    choice = _find_defense(records, defense, settings)
    cells = _cells(records, choice)
    protocol = next(iter(cells.values())).protocol
    return _enter(out, cells, defense, name=name, paper=paper, code=code, protocol=protocol,
                  defense=choice)


def submit_attack(run: Path, attack: str, name: str, paper: str, code: str, out: Path,
                  settings: Sequence[str] = ()) -> Path:
    """Write the entry out/PROTOCOL/TRIGGER-TARGET/REVISION of an attack, as `submit` does.

    The entry holds the records of the attack in the grid of attacks that most of them belong to.

    attack: 'TRIGGER/TARGET'.
    settings: 'attack.KEY=VALUE', to choose one if the run holds several settings of the attack, or
        'attack.trigger_version=VERSION' (or target_version) if it holds several versions.

    Raises:
        UserError: as `submit` does.
    """
    records = _frozen_records(run, "attacks --attack TARGET --set attack.trigger=TRIGGER")
    choice = find_attack(records.values(), attack, settings)
    own = {path: record for path, record in records.items()
           if record.attack and attack_of(record.attack).identity == choice.identity}
    by_grid = {grid.name: {path: record for path, record in own.items() if belongs(record, grid)}
               for grid in frozen_grids.frozen() if grid.takes_attacks}
    protocol = max(by_grid, key=lambda grid: len(by_grid[grid]), default="")
    if not by_grid.get(protocol):
        raise UserError(f"submit {attack}: none of its {len(own)} records belongs to a frozen grid "
                        "of attacks; expected those of `crowdbench run attacks`")
    return _enter(out, by_grid[protocol], attack, name=name, paper=paper, code=code,
                  protocol=protocol, attack=choice)


def _enter(out: Path, cells: Records, subject: str, **facts: Any) -> Path:
    """Write the entry of some records, or correct its addresses, and return its folder.

    subject: the defense or the attack, for messages. facts: fields of the manifest.
    """
    contents = {path.name: path.read_bytes() for path in cells}
    digests = {file: hashlib.sha256(content).hexdigest() for file, content in contents.items()}
    manifest = checked(Manifest, facts | {"cells": digests, "crowdbench": __version__},
                       f"submit {subject}")
    entry = out / manifest.protocol / manifest.folder / revision(digests)
    if entry.exists():
        _correct(entry, manifest)
    else:
        _write(entry, out, manifest, contents)
    return entry


def _write(entry: Path, out: Path, manifest: Manifest, contents: Mapping[str, bytes]) -> None:
    """Write an entry to a draft, check the draft, and move it to its place.

    Raises:
        UserError: the entry has an error.
    """
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".") as folder:
        draft = Path(folder) / entry.relative_to(out)
        with whole_folder(draft / CELLS) as cells:
            for file, content in contents.items():
                (cells / file).write_bytes(content)
        write_atomically(draft / FILE, manifest.dumps())
        checked_draft = check_entry(draft)
        if not checked_draft.is_sound:
            _refuse(checked_draft, manifest)
        entry.parent.mkdir(parents=True, exist_ok=True)
        publish(draft, entry)
    for problem in checked_draft.problems:
        log(replace(problem, path=str(entry)).line())


def _refuse(draft: CheckedEntry, manifest: Manifest) -> NoReturn:
    """Raise UserError with the first error of a draft, and the number of the others."""
    first, *more = (problem for problem in draft.problems if problem.grave)
    file = os.path.relpath(first.path, draft.folder)
    others = f" (and {len(more)} more errors)" if more else ""
    raise UserError(one_line(f"submit {manifest.subject}: {file}: {first.key}: {first.what}")
                    + others)


def _correct(entry: Path, manifest: Manifest) -> None:
    """Write the addresses of the paper and of the code into the manifest of an entry.

    Raises:
        UserError: they are there already, or the entry has another name or is broken.
    """
    where = f"submit {manifest.subject}: {entry}"
    published = check_entry(entry)
    if published.manifest is None or not published.is_sound:
        raise UserError(one_line(f"{where} exists and has an error: {published.problems[0].what}"))
    old = published.manifest
    if old.name != manifest.name:
        raise UserError(f"{where} exists already under the name {old.name!r}; expected this name, "
                        "or other records")
    corrected = old.model_copy(update={"paper": manifest.paper, "code": manifest.code})
    if corrected == old:
        raise UserError(f"{where} exists already; expected an entry with other records, or other "
                        "addresses of the paper or the code")
    write_atomically(entry / FILE, corrected.dumps())
    log(f"the addresses in {entry / FILE} were written again")


def _frozen_records(run: Path, command: str) -> Records:
    """The records of a run that belong to a frozen grid, each once.

    command: the run that makes such records, for the message.
    """
    folder = run / "records" if (run / "records").is_dir() else run
    if not folder.is_dir():
        raise UserError(f"submit: {run} is not a folder; expected the folder of a run")
    records, broken = read_sound(sorted(folder.glob("[!.]*.json")))
    frozen: Records = {}
    seen: set[str] = set()
    for path, record in records:
        text = record.model_dump_json()
        if record.protocol and text not in seen:
            frozen[path] = record
        seen.add(text)
    if not frozen:
        raise UserError(f"submit: none of the {len(records)} records in {folder} belongs to a "
                        f"frozen grid; expected those of `crowdbench run {command}`")
    for line in broken:
        log(line)
    return frozen


def _find_defense(records: Records, defense: str, settings: Sequence[str]) -> Choice:
    """The version and the settings of the defense that the records hold and the user chose."""
    for _, what in check_name("defense", defense):
        raise UserError(f"submit: --defense {what}")
    names = {record.defense.name for record in records.values()} - {UNDEFENDED.name}
    if defense not in names:
        raise UserError(f"submit: --defense {defense!r}: no record of a frozen grid has this "
                        f"defense; expected one of the run's: {did_you_mean(defense, names)}")
    wanted = wanted_settings("defense", {"name": defense}, settings)
    distinct = {identity(record.defense): without_given(record.defense)
                for record in records.values() if record.defense.name == defense}
    choices = list(distinct.values())
    matching = [choice for choice in choices if wanted.items() <= _with_version(choice).items()]
    if len(matching) != 1:
        raise UserError(f"submit {defense}: {len(matching)} of the {len(choices)} settings of the "
                        f"defense in the run match; expected one, chosen by "
                        f"{choosing_flags('defense', map(_with_version, choices), wanted)}")
    return matching[0]


def _with_version(choice: Choice) -> dict[str, Any]:
    return choice.resolved | {"version": choice.version}


def _cells(records: Records, choice: Choice) -> Records:
    """The records of a defense, and those of no defense and of the controls on its victims."""
    own = [record for record in records.values() if identity(record.defense) == identity(choice)]
    protocols = sorted({record.protocol for record in own})
    if len(protocols) > 1:
        raise UserError(f"submit {choice.name}: the run holds records of {' and '.join(protocols)};"
                        " expected those of one frozen grid")
    victims = {_victim(record) for record in own}
    cells = {}
    for path, record in records.items():
        is_own = identity(record.defense) == identity(choice)
        is_of_entry = is_own or record.defense.name in SHARED
        if is_of_entry and _victim(record) in victims:
            cells[path] = record
    return cells


def _victim(record: Record) -> str:
    return json.dumps(victim_settings(record), sort_keys=True)
