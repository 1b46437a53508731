"""Submission: builds a leaderboard entry from the records of a run.

The submitter states the name, the paper and the code. Everything else follows from the records.
"""

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmark.config.request import override
from benchmark.leaderboard.consistency import UNDEFENDED
from benchmark.leaderboard.grid_slots import victim_settings
from benchmark.leaderboard.manifest import CELLS, FILE, Manifest, revision, without_given
from benchmark.leaderboard.validate import validate
from benchmark.registry import checked
from benchmark.results.record import Choice, Record
from benchmark.tables.controls import SHARED
from benchmark.utils.errors import UserError, did_you_mean
from benchmark.version import __version__

Records = dict[Path, Record]


def submit(run: Path, defense: str, name: str, paper: str, code: str, out: Path,
           settings: Sequence[str] = ()) -> Path:
    """Write the entry out/PROTOCOL/DEFENSE/REVISION, whole or not at all, and return its folder.

    The entry holds the records of the defense, and those of no defense and of the controls on the
    same victims.

    run: the output folder of `crowdbench run`, or a folder of records.
    settings: 'defense.KEY=VALUE', to choose one if the run holds several settings of the defense,
        or 'defense.version=VERSION' if it holds several versions.

    Raises:
        UserError: the run has no such defense in a frozen grid, or several; the entry would have an
            error; or it exists already.
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
        raise UserError(f"submit {defense}: {entry} exists already; expected an entry with other "
                        "records")
    _write(entry, out, manifest, contents)
    return entry


def _write(entry: Path, out: Path, manifest: Manifest, contents: Mapping[str, bytes]) -> None:
    """Write an entry to a draft, validate the draft, and move it to its place.

    Raises:
        UserError: the entry has an error.
    """
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".") as folder:
        draft = Path(folder) / entry.relative_to(out)
        (draft / CELLS).mkdir(parents=True)
        for file, content in contents.items():
            (draft / CELLS / file).write_bytes(content)
        (draft / FILE).write_text(manifest.dumps(), encoding="utf-8", newline="\n")
        for problem in validate([draft]).problems:
            if problem.grave:
                file = os.path.relpath(problem.path, draft)
                raise UserError(f"submit {manifest.defense.name}: {file}: {problem.key}: "
                                f"{problem.what}")
        entry.parent.mkdir(parents=True, exist_ok=True)
        os.rename(draft, entry)


def _frozen_records(run: Path) -> Records:
    """The records of a run that belong to a frozen grid."""
    folder = run / "records" if (run / "records").is_dir() else run
    if not folder.is_dir():
        raise UserError(f"submit: {run} is not a folder; expected the folder of a run")
    records = {path: Record.read(path) for path in sorted(folder.glob("*.json"))}
    frozen = {path: record for path, record in records.items() if record.protocol}
    if not frozen:
        raise UserError(f"submit: none of the {len(records)} records in {folder} belongs to a "
                        "frozen grid; expected those of `crowdbench run standard --defense NAME`")
    return frozen


def _find_defense(records: Records, defense: str, settings: Sequence[str]) -> Choice:
    """The version and the settings of the defense that the records hold and the user chose."""
    if not re.fullmatch(r"[A-Za-z_]\w*", defense, re.ASCII):
        raise UserError(f"submit: --defense {defense!r}: expected the name of a defense, of "
                        "letters, digits and _")
    names = {record.defense.name for record in records.values()} - {UNDEFENDED}
    if defense not in names:
        raise UserError(f"submit: --defense {defense!r}: no record of a frozen grid has this "
                        f"defense; expected one of the run's: {did_you_mean(defense, names)}")
    wanted = _wanted_settings(defense, settings)
    choices: list[Choice] = []
    for record in records.values():
        choice = without_given(record.defense)
        if choice.name == defense and choice not in choices:
            choices.append(choice)
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
    own = [record for record in records.values() if without_given(record.defense) == choice]
    protocols = sorted({record.protocol for record in own})
    if len(protocols) > 1:
        raise UserError(f"submit {choice.name}: the run holds records of {' and '.join(protocols)};"
                        " expected those of one frozen grid")
    victims = {_victim(record) for record in own}
    cells = {}
    for path, record in records.items():
        belongs = without_given(record.defense) == choice or record.defense.name in SHARED
        if belongs and _victim(record) in victims:
            cells[path] = record
    return cells


def _victim(record: Record) -> str:
    return json.dumps(victim_settings(record), sort_keys=True)
