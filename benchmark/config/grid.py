"""Grids: a request becomes a list of cells, all checked before data or device is touched."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmark.component_source import class_attribute, setting_names
from benchmark.config.axes import check_extent, expand
from benchmark.config.cell import POISONING, Cell, Component, ExperimentSettings
from benchmark.config.request import DEFAULTS, as_mapping
from benchmark.recipe import RUNNING, Recipe
from benchmark.registry import checked, find
from benchmark.utils.errors import UserError, quoted, shown, unknown_key


def cells(request: dict[str, Any]) -> list[Cell]:
    """The cells of a request.

    Misspelt names are found before any component is imported, since torch takes seconds to import.

    Raises:
        UserError: an unknown component or key, a value that does not fit or occurs twice, a
            setting that this machine does not support, an audit of something else than a trained
            counter or with an attack that needs training images, or a request without any cell or
            with too many.
    """
    check_extent(request)
    choices = list(expand(request))
    grid = [_cell(choice) for choice in choices]
    if not grid:
        raise UserError("settings: expected at least one value in every list, found an empty list")
    for cell in grid:
        _check(cell)
    _check_machine(grid)
    _check_each_once(request, choices, grid)
    _check_audits([cell for cell in grid if cell.settings.audit])
    return grid


def defenses_of(request: dict[str, Any]) -> list[Component]:
    """The defenses of a request, in its order. None of them is imported.

    Raises:
        UserError: as `cells` does for a name or a key.
    """
    return [_component("defense", choice)
            for choice in expand(request.get("defense", DEFAULTS["defense"]))]


# From a choice to a cell. No component is imported here.

def _cell(choice: dict[str, Any]) -> Cell:
    known = {*DEFAULTS, *ExperimentSettings.model_fields} - set(POISONING)
    for key in choice:
        if key not in known:
            raise unknown_key("settings", key, known)
    choice = DEFAULTS | choice
    training = as_mapping("training", choice["training"])
    for key in training:
        if key not in Recipe.model_fields:
            raise unknown_key("training", key, Recipe.model_fields)
    settings = {key: choice[key] for key in ExperimentSettings.model_fields if key in choice}
    cell = Cell(checked(ExperimentSettings, settings, "settings"),
                _component("dataset", choice["data"]), _component("model", choice["model"]),
                None, None, _component("defense", choice["defense"]), training)
    attack = as_mapping("attack", choice["attack"])
    if attack is None:
        return cell
    also = as_mapping("also", attack.get("also"))
    cell = _attacked(cell, {key: value for key, value in attack.items() if key != "also"}, "attack")
    return replace(cell, also=_attacked(cell, also, "attack.also")) if also is not None else cell


def _component(kind: str, choice: Any) -> Component:
    settings = as_mapping(kind, choice)
    if "name" not in settings:
        raise UserError(f"{kind}: expected a name, or a mapping with a name, got {quoted(choice)}")
    name = _name(settings["name"])
    given = {key: value for key, value in settings.items() if key != "name"}
    known = setting_names(kind, name)
    for key in given:
        if key not in known:
            raise unknown_key(f"{kind} {name}", key, known)
    return Component(kind, name, given)


def _name(given: Any) -> str:
    """The name of a component. A file 2024.py is named by the number, too."""
    return given if isinstance(given, str) else quoted(given)


def _attacked(cell: Cell, attack: dict[str, Any], where: str) -> Cell:
    """The cell with an attack. where: the attack's key in the request."""
    poisoning = {key: attack[key] for key in POISONING if key in attack}
    common = cell.settings.model_dump(exclude={*POISONING}, exclude_unset=True)
    settings = checked(ExperimentSettings, common | poisoning, where)
    if settings.audit and poisoning:
        key, value = next(iter(poisoning.items()))
        raise UserError(f"audit: {where}.{key} = {quoted(value)}: an audit poisons nothing; "
                        "leave it out")
    if isinstance(settings.choose, Path) and ("poison_rate" in poisoning
                                              or not settings.choose.is_file()):
        raise UserError(f"{where}.choose = {shown(settings.choose)}: expected random, fewest, "
                        "most, or a file of ids without a poison_rate")
    trigger, target, test_trigger = trigger_and_target(attack, where)
    return replace(cell, settings=settings, trigger=trigger, target=target,
                   test_trigger=test_trigger)


def trigger_and_target(attack: dict[str, Any],
                       where: str) -> tuple[Component, Component, Component | None]:
    """The trigger, the target, and the trigger of the test images where it has other settings.

    Each key of the attack belongs to the trigger or to the target, whichever has such a setting.
    `test_` before a setting of the trigger changes it on the test images alone, unless an optimised
    pattern depends on the setting, or it changes nothing on test images.
    """
    left = {key: value for key, value in attack.items() if key not in POISONING}
    names = {"trigger": _name(left.pop("trigger", "blended"))}
    if "target" not in left or left["target"] is None:
        raise UserError(f"{where}: expected a target, for instance {where}.target=multiply")
    names["target"] = _name(left.pop("target"))
    known = {kind: setting_names(kind, name) for kind, name in names.items()}
    components = {}
    for kind, name in names.items():
        given = {key: left.pop(key) for key in list(left) if key in known[kind]}
        components[kind] = Component(kind, name, given)
    optimised = class_attribute("trigger", names["trigger"], "optimises") or ()
    only_in_training = class_attribute("trigger", names["trigger"], "only_in_training") or ()
    tested = {}
    for key in known["trigger"]:
        if f"test_{key}" in left and key not in {*optimised, *only_in_training}:
            tested[key] = left.pop(f"test_{key}")
    if left:
        also = ["also"] if where == "attack" else []
        every = {"trigger", "target", *POISONING, *also, *known["trigger"], *known["target"]}
        raise unknown_key(where, next(iter(left)), every)
    trigger = components["trigger"]
    in_test = Component("trigger", trigger.name, trigger.given | tested) if tested else None
    return trigger, components["target"], in_test


# The checks of a cell, which import its components.

def _check(cell: Cell) -> None:
    for component in (cell.data, cell.model, cell.defense):
        component.resolved
    cell.tested
    if cell.also:
        _check_also(cell, cell.also)
    if cell.defense.build().knows.validation and not cell.settings.hold_out:
        raise UserError(f"defense {cell.defense.name!r}: hold_out = 0 leaves no validation images "
                        "to choose its settings on; expected a hold_out above 0")
    if cell.recipe.select == "validation" and not cell.settings.hold_out:
        raise UserError("training.select = 'validation': hold_out = 0 leaves no validation images; "
                        "expected last or test, or a hold_out above 0")


def _check_also(cell: Cell, also: Cell) -> None:
    if also.test_trigger:
        raise UserError("attack.also: test images carry the other trigger; expected no setting "
                        "with test_")
    if also.attack.trigger == cell.attack.trigger:
        raise UserError(f"attack.also: trigger {also.trigger.name!r} with the same settings; "
                        "expected another trigger or other settings")


def _check_each_once(request: dict[str, Any], choices: list[dict[str, Any]],
                     grid: list[Cell]) -> None:
    """Refuse two choices that make the same record.

    Either one value is written in two ways, as 0 and 0.0 or 'none' and {name: none}, or the values
    only say how a cell is run, as those of `eval_batch`.
    """
    seen: dict[str, dict[str, Any]] = {}
    for choice, cell in zip(choices, grid):
        other = seen.setdefault(_settings_of_record(cell), choice)
        if other is not choice:
            raise UserError(f"{_repeated(request, other, choice)}; "
                            "expected each value of an axis once")


def _repeated(request: dict[str, Any], one: dict[str, Any], other: dict[str, Any]) -> str:
    """The axis and the value or values by which two choices of a request make one record."""
    for key, value in one.items():
        if repr(value) != repr(other[key]):
            return f"{shown(key)}: {quoted(value)} and {quoted(other[key])} make the same record"
    key = next(key for key, axis in request.items()
               if [repr(value) for value in expand(axis)].count(repr(one[key])) > 1)
    return f"{shown(key)}: {quoted(one[key])} occurs twice"


def _settings_of_record(cell: Cell) -> str:
    """The resolved settings of a cell as text, without those that no record depends on."""
    from benchmark.utils.device import repair_precision, resolve_precision

    parts = (cell.data, cell.model, cell.trigger, cell.target, cell.test_trigger, cell.defense)
    components = [part and (part.name, part.resolved) for part in parts]
    precision = cell.recipe.precision
    return repr([cell.settings.model_dump(exclude={"eval_batch"}),
                 cell.recipe.model_dump(exclude={*RUNNING, "precision"}),
                 resolve_precision(precision), repair_precision(precision), components,
                 cell.also and _settings_of_record(cell.also)])


def _check_machine(grid: list[Cell]) -> None:
    """Refuse a precision or a tracker that this machine does not have."""
    from benchmark.utils.device import accelerator, resolve_precision

    for precision, tracker in {(cell.recipe.precision, cell.recipe.tracker) for cell in grid}:
        accelerator(resolve_precision(precision), tracker)


def _check_audits(audits: list[Cell]) -> None:
    from benchmark.weights import trained

    checked_models: list[Component] = []
    for cell in audits:
        if cell.defense.build().knows.poisoned:
            raise UserError(f"audit: defense {cell.defense.name!r} needs the poisoned training "
                            "set, which nobody knows in an audit; "
                            "expected a defense that does without it")
        if cell.also:
            raise UserError("audit: attack.also: an audit poisons nothing; leave it out")
        if cell.trigger and find("trigger", cell.trigger.name).optimises:
            raise UserError(f"audit: trigger {cell.trigger.name!r} is optimised with a clean "
                            "counter and its training images, which an audit does not have; "
                            "expected another trigger")
        if cell.target and not cell.reads_train:
            _check_unfitted(cell)
        if cell.model not in checked_models:  # each file is read once
            trained(cell.model.name, cell.model.given, "audit")
            checked_models.append(cell.model)


def _check_unfitted(cell: Cell) -> None:
    """Check that the target of an audit that reads no training images needs none of them.

    Raises:
        UserError: the target takes the attacker's count from them. It would otherwise be told after
            everything was counted.
    """
    import numpy as np

    from attacks.base import Target

    if type(cell.target.build()).fitted is not Target.fitted:
        cell.target.build().tau_of(np.zeros((0, 2), np.float32), (64, 64))
