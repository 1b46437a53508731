"""A run -> an entry of the leaderboard. Nothing is typed but its name, its paper and its code."""

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmark import __version__
from benchmark.config.grid import override
from benchmark.leaderboard.consistency import UNDEFENDED
from benchmark.leaderboard.grid_slots import facts
from benchmark.leaderboard.manifest import CELLS, FILE, Manifest, chosen, revision
from benchmark.leaderboard.report import CONTROLS
from benchmark.leaderboard.validate import validate
from benchmark.registry import checked
from benchmark.results.record import Choice, Record
from benchmark.utils.errors import UserError, did_you_mean

Records = dict[Path, Record]


def submit(run: Path, defense: str, name: str, paper: str, code: str, out: Path, settings: Sequence[str] = ()) -> Path:
    """Write out/PROTOCOL/DEFENSE/REVISION, whole or not at all: the cells of a defense, and of none and the controls
    on the same victims. Returns the folder.

    run: what `crowdbench run` wrote, or a folder of records. settings: 'defense.KEY=VALUE', where the run holds the
    defense with several; 'defense.version=VERSION' where it holds several versions.

    Raises:
        UserError: the run has no such defense in a frozen grid, or several, the entry would have an error, or it is
            there already.
    """
    records = _records(run)
    own = _chosen(records, defense, settings)
    cells = _cells(records, own)
    content = {path.name: path.read_bytes() for path in cells}
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in content.items()}
    manifest = checked(Manifest, {
        "name": name, "paper": paper, "code": code, "protocol": next(iter(cells.values())).protocol, "defense": own,
        "cells": digests, "crowdbench": __version__}, f"submit {defense}")
    place = Path(manifest.protocol, defense, revision(digests))
    if (out / place).exists():
        raise UserError(f"submit {defense}: {out / place} is there already")
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".") as draft:
        folder = Path(draft) / place
        (folder / CELLS).mkdir(parents=True)
        for file, data in content.items():
            (folder / CELLS / file).write_bytes(data)
        (folder / FILE).write_text(manifest.dumps(), encoding="utf-8", newline="\n")
        _must_be_valid(folder, defense)
        (out / place).parent.mkdir(parents=True, exist_ok=True)
        os.rename(folder, out / place)
    return out / place


def _records(run: Path) -> Records:
    """The records of a run that belong to a frozen grid."""
    folder = run / "records" if (run / "records").is_dir() else run
    if not folder.is_dir():
        raise UserError(f"submit {run}: expected the folder of a run")
    records = {path: Record.read(path) for path in sorted(folder.glob("*.json"))}
    frozen = {path: record for path, record in records.items() if record.protocol}
    if not frozen:
        raise UserError(f"submit {run}: none of {len(records)} records in {folder} belongs to a frozen grid; expected "
                        "those of `crowdbench run standard --defense NAME`")
    return frozen


def _chosen(records: Records, defense: str, settings: Sequence[str]) -> Choice:
    """The one version and the one choice of settings that are submitted."""
    if not re.fullmatch(r"[A-Za-z_]\w*", defense, re.ASCII):
        raise UserError(f"submit {defense!r}: expected the name of a defense: letters, digits and _")
    held = {record.defense.name for record in records.values()} - {UNDEFENDED}
    if defense not in held:
        raise UserError(f"submit {defense!r}: the run holds no such defense in a frozen grid: "
                        f"{did_you_mean(defense, held)}")
    wanted = _wanted(defense, settings)
    choices: list[Choice] = []
    for choice in (chosen(record.defense) for record in records.values() if record.defense.name == defense):
        choices += [choice] if choice not in choices else []
    told = [choice.resolved | {"version": choice.version} for choice in choices]
    fitting = [choice for choice, one in zip(choices, told)
               if all(key in one and one[key] == value for key, value in wanted.items())]
    if len(fitting) != 1:
        keys = sorted(key for key in {*wanted}.union(*told) if key in wanted or any(
            one.get(key) != told[0].get(key) for one in told))
        there = "; ".join(" ".join(f"--set defense.{key}={_plain(one.get(key))}" for key in keys) for one in told)
        raise UserError(f"submit {defense}: expected one choice of its settings, {len(fitting)} fit; the run holds "
                        f"{there}")
    return fitting[0]


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _wanted(defense: str, settings: Sequence[str]) -> dict[str, Any]:
    request = override({"defense": [{"name": defense}]}, list(settings))
    choice = request.pop("defense")
    if request or not isinstance(choice, list):
        raise UserError(f"submit --set {' '.join(settings)}: expected a setting of the defense, defense.KEY=VALUE")
    return {key: value for key, value in choice[0].items() if key != "name"}


def _cells(records: Records, own: Choice) -> Records:
    """The records of a defense, and those of none and of the controls on the same victims."""
    def victim(record: Record) -> str:
        return json.dumps(facts(record), sort_keys=True)

    mine = [record for record in records.values() if chosen(record.defense) == own]
    if len(protocols := sorted({record.protocol for record in mine})) > 1:
        raise UserError(f"submit {own.name}: the run holds {' and '.join(protocols)}; expected a folder with one")
    victims = {victim(record) for record in mine}
    return {path: record for path, record in records.items() if victim(record) in victims and (
        chosen(record.defense) == own or record.defense.name in (UNDEFENDED, *CONTROLS))}


def _must_be_valid(folder: Path, defense: str) -> None:
    report = validate([folder])
    for finding in report.findings:
        if finding.grave:
            where = os.path.relpath(finding.path, folder)
            raise UserError(f"submit {defense}: {where}: {finding.key}: {finding.what}")
