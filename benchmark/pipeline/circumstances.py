"""Circumstances: on which machine and with which switches of torch each stage is made.

They are noted beside the stage, since a stage may be older than the record that uses it, or come
from another machine. A switch that changes while a stage is made, by a plugin for instance, would
act on all stages that follow, and is refused.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError

from benchmark.config.cell import Cell, ExperimentSettings
from benchmark.pipeline.stage import Stage
from benchmark.pipeline.store import Store
from benchmark.utils.device import (check_environment, repair_precision, resolve_precision,
                                    state)
from benchmark.utils.environment import machine
from benchmark.utils.errors import UserError
from benchmark.utils.files import write_atomically
from benchmark.utils.switches import Switches, changed, switches

MADE = "made.json"
Circumstances = dict[str, Any]
NOTED = TypeAdapter(list[Circumstances])  # the content of the file MADE


def watched(stage: Stage, cell: Cell, began_with: Switches) -> Stage:
    """A stage that is made under the circumstances in which its run began, or refused.

    cell: one that needs the stage. began_with: the switches at the start of the run.
    """
    return replace(stage, make=partial(_make, stage.make, stage.title, _settings(cell), began_with))


def told(store: Store, stages: Iterable[Stage], cell: Cell) -> Circumstances:
    """Facts for the provenance of a record, besides those of `environment.provenance`.

    switches: those of torch, and the settings of the cell that act like them. also_made_with: by
    key, the other values that were noted when its stages were made, and the precision of the
    repair where that is another one.
    """
    here, others = _here(_settings(cell)), {}
    for stage in stages:
        for noted in _noted(store.path(stage) / MADE):
            for key in sorted({*here, *noted}):
                value = noted.get(key)
                if value != here.get(key) and value not in others.get(key, []):
                    others.setdefault(key, []).append(value)
    own = repair_precision(cell.recipe.precision)
    if cell.repairs and own != resolve_precision(cell.recipe.precision):
        others["precision"] = [own]
    found = {"switches": here.get("switches"), "also_made_with": others}
    return {key: value for key, value in found.items() if value}


def _make(make: Callable[[Path], None], title: str, settings: Circumstances, began_with: Switches,
          folder: Path) -> None:
    """Make a stage in a folder.

    Raises:
        UserError: a switch is not as it was when the run began, or is changed by the stage.
    """
    check_environment()
    _refuse(f"{title}: since the run began,", began_with, switches())
    before = _with_threads()
    if state().is_main_process:
        _note(folder / MADE, _here(settings))
    try:
        make(folder)
    finally:  # a changed switch may be the reason of an error
        _refuse(f"{title}:", before, _with_threads())


def _with_threads() -> Switches:
    """The switches and the number of threads, which may differ among the machines of a run."""
    return switches() | {"torch.get_num_threads": str(torch.get_num_threads())}


def _refuse(where: str, before: Switches, now: Switches) -> None:
    change = changed(before, now)
    if change:
        raise UserError(f"{where} {change}, which would change the results of all that follows; "
                        "expected code that changes it only within a `with` block, or sets it back")


def _note(path: Path, here: Circumstances) -> None:
    """Add our circumstances to those of earlier, killed attempts at a stage."""
    noted = _noted(path)
    if here not in noted:
        write_atomically(path, json.dumps([*noted, here]))


def _noted(path: Path) -> list[Circumstances]:
    """The circumstances in a file; none where it is missing or broken."""
    if not path.is_file():
        return []
    try:
        return NOTED.validate_json(path.read_bytes())
    except ValidationError:
        return []


def _here(settings: Circumstances) -> Circumstances:
    """The circumstances of this process. settings: see `_settings`."""
    here = machine()
    if settings:
        here["switches"] = here.get("switches", {}) | settings
    return here


def _settings(cell: Cell) -> Circumstances:
    """The settings that change only the rounding, and so are in no key of the store."""
    settings: Circumstances = {"training.compile": True} if cell.recipe.compile else {}
    if cell.settings.eval_batch != ExperimentSettings().eval_batch:
        settings["eval_batch"] = cell.settings.eval_batch
    return settings
