"""Settings: presets, YAML files and flags -> a checked list of cells. Defaults < preset < file < flags.

Any list is an axis of the grid: `seed: [0, 1, 2]`, `attack.alpha: [0.05, 0.1]`, or a list of attacks. Everything is
checked here, before data or device is touched.
"""

import copy
import itertools
from collections.abc import Iterator
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from benchmark.config.cell import POISONING, Cell, Component, ExperimentSettings
from benchmark.registry import checked, find, settings_of
from benchmark.utils.device import accelerator, resolve_precision
from benchmark.utils.errors import UserError, did_you_mean
from benchmark.weights import trained

PRESETS = files("benchmark") / "presets"
ATTACKS = ("attack", "also")
FREEZING = ("protocol", "splits", "counted")
DEFAULTS = {"data": "synthetic", "model": "tiny", "attack": None, "defense": "none", "training": None}


def cells(request: dict[str, Any]) -> list[Cell]:
    """The grid of a request, every cell checked.

    Raises:
        UserError: an unknown entry or key, a value that does not fit, one that this machine has not, an audit of what
            is no trained counter, or no cell at all.
    """
    grid = [_cell(choice) for choice in _expand(request)]
    if not grid:
        raise UserError("settings: expected at least one value in every list, found an empty list")
    for cell in grid:
        for entry in (cell.data, cell.model, cell.defense):
            entry.resolved
        cell.tested
        if cell.also:
            _check_also(cell, cell.also)
        if cell.defense.build().knows.validation and not cell.settings.hold_out:
            raise UserError(f"defense {cell.defense.name!r}: hold_out = 0 leaves no validation images to choose its "
                            "settings on; expected a hold_out above 0")
        if cell.recipe.select == "validation" and not cell.settings.hold_out:
            raise UserError("training.select = 'validation': hold_out = 0 leaves no validation images; expected last "
                            "or test, or a hold_out above 0")
    for precision, tracker in {(cell.recipe.precision, cell.recipe.tracker) for cell in grid}:
        accelerator(resolve_precision(precision), tracker)  # refuses what is not here
    _check_audits([cell for cell in grid if cell.settings.audit])
    return grid


def _check_also(cell: Cell, also: Cell) -> None:
    if also.test_trigger:
        raise UserError("attack.also: test images carry the other trigger; expected no setting with test_")
    if also.attack.trigger == cell.attack.trigger:
        raise UserError(f"attack.also: trigger {also.trigger.name!r} with the same settings; expected another trigger "
                        "or other settings")


def _check_audits(audits: list[Cell]) -> None:
    checked_models: list[Component] = []
    for cell in audits:
        if cell.defense.build().knows.poisoned:
            raise UserError(f"audit: defense {cell.defense.name!r} needs the poisoned training set, and none is known; "
                            "expected a defense that does without")
        if cell.also:
            raise UserError("audit: attack.also: nothing is poisoned; leave it out")
        if cell.trigger and find("trigger", cell.trigger.name).optimises:
            raise UserError(f"audit: trigger {cell.trigger.name!r} is optimised on a clean counter, and none is known; "
                            "expected another trigger")
        if cell.model not in checked_models:  # each file is read once
            trained(cell.model.name, cell.model.given, "audit")
            checked_models.append(cell.model)


def load(source: str) -> dict[str, Any]:
    """A preset by name, or a YAML file by path. Raises UserError."""
    presets = preset_names()
    if source in presets:  # what makes it a frozen grid is read by `frozen_grids`
        return {key: value for key, value in read_yaml(PRESETS / f"{source}.yaml").items() if key not in FREEZING}
    if not Path(source).is_file():
        raise UserError(f"run {source!r}: no such preset or file: {did_you_mean(source, presets)}")
    return read_yaml(Path(source))


def preset_names() -> list[str]:
    """Names of the presets that ship."""
    return sorted(path.name.removesuffix(".yaml") for path in PRESETS.iterdir() if path.name.endswith(".yaml"))


def read_yaml(path: Any) -> dict[str, Any]:
    """A YAML mapping. Raises UserError naming the file and the line."""
    try:
        read = yaml.safe_load(path.read_text())
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:  # ValueError: a month 13, no text
        raise UserError(f"{path}: not readable as YAML: {' '.join(str(error).split())}") from None
    if not isinstance(read, dict):
        raise UserError(f"{path}: expected a mapping of settings")
    return read


def override(request: dict[str, Any], assignments: list[str]) -> dict[str, Any]:
    """The request with `key=value` or `key.setting=value` flags on top; a value with commas is a list.

    Where a key is an axis, each of its choices gets the setting; the attack and the defense `none` have none to get.

    Raises:
        UserError: a flag without a key or value, or nothing that the setting could belong to.
    """
    request = copy.deepcopy(request)
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key:
            raise UserError(f"--set {assignment!r}: expected key=value, for instance attack.alpha=0.05,0.1")
        values = [_scalar(part) for part in text.split(",")]
        value = values if len(values) > 1 else values[0]
        first, dot, setting = key.partition(".")
        request[first] = _with(request.get(first, DEFAULTS.get(first)), first, setting, value) if dot else value
    return request


def _with(given: Any, key: str, setting: str, value: Any) -> list[Any]:
    """The choices of a key, with a setting in each. Raises UserError where no choice could have one."""
    choices = [_as_mapping(key, choice) for choice in (given if isinstance(given, list) else [given])]
    changed = [choice for choice in choices if choice is not None and choice.get("name") != "none"]
    if not changed:
        raise UserError(f"--set {key}.{setting}: there is no {key} that could have settings")
    first, dot, inner = setting.partition(".")
    for choice in changed:
        choice[first] = _with(choice.get(first, {}), first, inner, value) if dot else value
    return choices


def _scalar(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except (ValueError, yaml.YAMLError):
        return text


def _as_mapping(key: str, choice: Any) -> dict[str, Any] | None:
    """A choice as its settings; a bare name is short for an entry without any, no attack is None. Raises UserError."""
    if key in ATTACKS and choice in (None, "none"):
        return None
    if isinstance(choice, str) and key != "training":
        return {"target" if key in ATTACKS else "name": choice}
    if not isinstance(choice, dict | None):
        raise UserError(f"{key}: expected a mapping of settings, got {choice!r}")
    return choice or {}


def _expand(node: Any) -> Iterator[Any]:
    """Every choice of one value per list in a tree."""
    if isinstance(node, list):
        for choice in node:
            yield from _expand(choice)
    elif isinstance(node, dict):
        for values in itertools.product(*(list(_expand(value)) for value in node.values())):
            yield dict(zip(node, values))
    else:
        yield node


def _cell(choice: dict[str, Any]) -> Cell:
    known = {*DEFAULTS, *ExperimentSettings.model_fields} - set(POISONING)
    for key in choice:
        if key not in known:
            raise UserError(f"settings: unknown key {key!r}: {did_you_mean(key, known)}")
    choice = DEFAULTS | choice
    settings = {key: choice[key] for key in ExperimentSettings.model_fields if key in choice}
    cell = Cell(checked(ExperimentSettings, settings, "settings"), _entry("dataset", choice["data"]),
                _entry("model", choice["model"]), None, None, _entry("defense", choice["defense"]),
                _as_mapping("training", choice["training"]))
    attack = _as_mapping("attack", choice["attack"])
    if attack is None:
        return cell
    also = _as_mapping("also", attack.get("also"))
    cell = _attacked(cell, {key: value for key, value in attack.items() if key != "also"}, "attack")
    return replace(cell, also=_attacked(cell, also, "attack.also")) if also is not None else cell


def _attacked(cell: Cell, attack: dict[str, Any], where: str) -> Cell:
    """A cell with an attack. where: what the request calls it."""
    poisoning = {key: attack[key] for key in POISONING if key in attack}
    settings = checked(ExperimentSettings, cell.settings.model_dump(exclude={*POISONING}, exclude_unset=True) | poisoning, where)
    for key, value in poisoning.items() if settings.audit else ():
        raise UserError(f"audit: {where}.{key} = {value}: nothing is poisoned; leave it out")
    if isinstance(settings.choose, Path) and ("poison_rate" in poisoning or not settings.choose.is_file()):
        raise UserError(f"{where}.choose = {settings.choose}: expected random, fewest, most, or a file of ids without "
                        "a poison_rate")
    trigger, target, test_trigger = _attack(attack, where)
    return replace(cell, settings=settings, trigger=trigger, target=target, test_trigger=test_trigger)


def _entry(kind: str, choice: Any) -> Component:
    settings = _as_mapping(kind, choice)
    if "name" not in settings:
        raise UserError(f"{kind}: expected a name, or a mapping with a name, got {choice!r}")
    return Component(kind, str(settings["name"]), {key: value for key, value in settings.items() if key != "name"})


def _attack(choice: dict[str, Any], where: str) -> tuple[Component, Component, Component | None]:
    """A trigger, a target, and the trigger of the test images where that is another.

    Every key but those of the poisoning goes to the one of the two that has such a setting; 'test_' before a setting of
    the trigger is for the test images alone, and not for one that an optimised pattern depends on.
    """
    given = {key: value for key, value in choice.items() if key not in POISONING}
    entries, tested = [], {}
    for kind, default in (("trigger", "blended"), ("target", None)):
        name = given.pop(kind, default)
        if name is None:
            raise UserError(f"{where}: expected a target, for instance {where}.target=multiply")
        entry = find(kind, str(name))
        fields = settings_of(entry).model_fields
        entries.append(Component(kind, str(name), {key: given.pop(key) for key in list(given) if key in fields}))
        if kind == "trigger":
            tested = {key: given.pop(f"test_{key}") for key in fields
                      if f"test_{key}" in given and key not in entry.optimises}
    if given:
        known = {"trigger", "target", *POISONING, *(["also"] if where == "attack" else [])}
        known = known.union(*(entry.resolved for entry in entries))
        key = next(iter(given))
        raise UserError(f"{where}: unknown key {key!r}: {did_you_mean(key, known)}")
    trigger, target = entries
    return trigger, target, Component("trigger", trigger.name, trigger.given | tested) if tested else None
