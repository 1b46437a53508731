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

from benchmark.config.request import override
from benchmark.leaderboard.grid_slots import victim_settings
from benchmark.leaderboard.load import read_sound
from benchmark.leaderboard.manifest import (CELLS, FILE, UNDEFENDED, Manifest, identity, revision,
                                            without_given)
from benchmark.leaderboard.record_checks import check_defense_name
from benchmark.leaderboard.validate import CheckedEntry, check_entry
from benchmark.registry import checked
from benchmark.results.record import Choice, Record
from benchmark.tables.controls import SHARED
from benchmark.utils.errors import UserError, did_you_mean
from benchmark.utils.files import publish, whole_file, write_atomically
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
    records = _frozen_records(run)
    choice = _find_defense(records, defense, settings)
    cells = _cells(records, choice)
    contents = {path.name: path.read_bytes() for path in cells}
    digests = {file: hashlib.sha256(content).hexdigest() for file, content in contents.items()}
    protocol = next(iter(cells.values())).protocol
    manifest = checked(Manifest, {
        "name": name, "paper": paper, "code": code, "protocol": protocol, "defense": choice,
        "cells": digests, "crowdbench": __version__}, f"submit {defense}")
    entry = out / manifest.protocol / defense / revision(digests)
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
        (draft / CELLS).mkdir(parents=True)
        for file, content in contents.items():
            with whole_file(draft / CELLS / file) as temporary:
                temporary.write_bytes(content)
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
    raise UserError(one_line(f"submit {manifest.defense.name}: {file}: {first.key}: {first.what}")
                    + others)


def _correct(entry: Path, manifest: Manifest) -> None:
    """Write the addresses of the paper and of the code into the manifest of an entry.

    Raises:
        UserError: they are there already, or the entry has another name or is broken.
    """
    where = f"submit {manifest.defense.name}: {entry}"
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


def _frozen_records(run: Path) -> Records:
    """The records of a run that belong to a frozen grid, each once."""
    folder = run / "records" if (run / "records").is_dir() else run
    if not folder.is_dir():
        raise UserError(f"submit: {run} is not a folder; expected the folder of a run")
    records, broken = read_sound(sorted(folder.glob("[!.]*.json")))
    frozen: Records = {}
    for path, record in records:
        if record.protocol and record not in frozen.values():
            frozen[path] = record
    if not frozen:
        raise UserError(f"submit: none of the {len(records)} records in {folder} belongs to a "
                        "frozen grid; expected those of `crowdbench run standard --defense NAME`")
    for line in broken:
        log(line)
    return frozen


def _find_defense(records: Records, defense: str, settings: Sequence[str]) -> Choice:
    """The version and the settings of the defense that the records hold and the user chose."""
    for _, what in check_defense_name(defense):
        raise UserError(f"submit: --defense {what}")
    names = {record.defense.name for record in records.values()} - {UNDEFENDED.name}
    if defense not in names:
        raise UserError(f"submit: --defense {defense!r}: no record of a frozen grid has this "
                        f"defense; expected one of the run's: {did_you_mean(defense, names)}")
    wanted = _wanted_settings(defense, settings)
    distinct = {identity(record.defense): without_given(record.defense)
                for record in records.values() if record.defense.name == defense}
    choices = list(distinct.values())
    matching = [choice for choice in choices if wanted.items() <= _with_version(choice).items()]
    if len(matching) != 1:
        raise UserError(f"submit {defense}: {len(matching)} of the {len(choices)} settings of the "
                        f"defense in the run match; expected one, chosen by "
                        f"{_choosing_flags(choices, wanted)}")
    return matching[0]


def _with_version(choice: Choice) -> dict[str, Any]:
    return choice.resolved | {"version": choice.version}


def _choosing_flags(choices: Sequence[Choice], wanted: Mapping[str, Any]) -> str:
    """The flags for each choice, with the settings in which they differ and the wanted ones."""
    settings = [_with_version(choice) for choice in choices]
    keys = set(wanted)
    for key in set().union(*settings):
        if any(other.get(key) != settings[0].get(key) for other in settings):
            keys.add(key)
    alternatives = []
    for values in settings:
        flags = [f"--set defense.{key}={_plain(values.get(key))}" for key in sorted(keys)]
        alternatives.append(" ".join(flags))
    return " or ".join(alternatives)


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _wanted_settings(defense: str, assignments: Sequence[str]) -> dict[str, Any]:
    """The settings of the defense that the user assigned, as values."""
    request = override({"defense": [{"name": defense}]}, list(assignments))
    choices = request.pop("defense")
    if request or not isinstance(choices, list):
        raise UserError(f"submit --set {' '.join(assignments)}: expected only settings of the "
                        "defense, defense.KEY=VALUE")
    return {key: value for key, value in choices[0].items() if key != "name"}


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
        belongs = is_own or record.defense.name in SHARED
        if belongs and _victim(record) in victims:
            cells[path] = record
    return cells


def _victim(record: Record) -> str:
    return json.dumps(victim_settings(record), sort_keys=True)
