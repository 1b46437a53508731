"""Attack slots: the cells of one attack in a frozen grid of attacks, without their defense.

They are the clean counters of the grid with the settings of the attack. Whether a record belongs to
the grid follows from its settings, whatever protocol it names: the paper's attacks belong to a grid
of defenses, too, and name that one.
"""

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

from benchmark.config.frozen_grids import FrozenGrid
from benchmark.leaderboard.component_checks import is_ours, present
from benchmark.leaderboard.grid_slots import (FlatSettings, GridSlot, default_settings, find_slot,
                                              flatten, slots, tau_of_count)
from benchmark.leaderboard.manifest import EnteredAttack, attack_of, without_given
from benchmark.results.describe import describe_component
from benchmark.results.record import Choice, Record
from benchmark.utils.strict_json import InvalidFile

SHARE_ROUNDING = 1e-9  # of a sum of two poison rates


def clean_slots(grid: FrozenGrid) -> tuple[GridSlot, ...]:
    """The slots of the clean counters of a grid: one for each model and seed."""
    return slots(grid.preset, "none")


def attack_slots(grid: FrozenGrid, attack: EnteredAttack) -> tuple[GridSlot, ...]:
    """The slots of an attack in a grid: one for each model and seed."""
    return _attack_slots(grid, attack.identity)


@cache
def grid_defenses(grid: FrozenGrid, name: str | None = None) -> list[Choice]:
    """The defenses of a grid's preset as records describe them, without what was given.

    name: of the defenses wanted, so that no others are imported; None takes all.
    """
    return [without_given(describe_component(defense)) for defense in grid.defenses
            if name in (None, defense.name)]


def grid_defense(choice: Choice, grid: FrozenGrid) -> Choice | None:
    """The defense of a grid's preset that a record names; None if it is none of them.

    A setting that an older record lacks is at its default.
    """
    for defense in grid_defenses(grid, choice.name):
        if choice.version == defense.version:
            if _all_settings(choice) == _all_settings(defense):
                return defense
    return None


def attack_slot(record: Record, grid: FrozenGrid) -> GridSlot | None:
    """The slot of a grid of attacks that a record fills; None if it does not belong to the grid."""
    if record.attack is None or record.audit:
        return None
    attack = attack_of(record.attack)
    is_of_grid = (record.model.name in grid.models and poisons_few(attack, grid)
                  and grid.counted in (None, record.images.checksum)
                  and grid_defense(record.defense, grid) is not None)
    if not is_of_grid:
        return None
    try:
        return find_slot(record, attack_slots(grid, attack))
    except InvalidFile:
        return None


def belongs(record: Record, grid: FrozenGrid) -> bool:
    """Whether a record has the settings and images of a cell of the grid, whatever it says."""
    if grid.takes_attacks:
        return attack_slot(record, grid) is not None
    if grid.counted not in (None, record.images.checksum):
        return False
    try:
        find_slot(record, slots(grid.preset))
    except InvalidFile:
        return False
    return True


def poisons_few(attack: EnteredAttack, grid: FrozenGrid) -> bool:
    """Whether an attack poisons no more images than a grid allows."""
    return 0 < attack.poisoned_share <= grid.most_poisoned + SHARE_ROUNDING


@cache
def _attack_slots(grid: FrozenGrid, text: str) -> tuple[GridSlot, ...]:
    """The slots of an attack, by its identity."""
    attack = EnteredAttack.model_validate_json(text)
    settings = dict(flatten({"attack": _without_given(attack.model_dump(mode="json"))}))
    defaults: FlatSettings = {}
    for key, kind, choice in _components(attack):
        if is_ours(kind, choice.name):
            defaults |= default_settings(kind, choice.name, key)
    target = present("target", attack.target)
    tau = tau_of_count(target) if target else None
    made = []
    for slot in clean_slots(grid):
        counter = {key: value for key, value in slot.settings.items() if key != "attack"}
        title = f"{counter['model.name']} {attack.title} seed {counter['seed']}"
        made.append(GridSlot(title, counter | settings, slot.defaults | defaults, tau))
    return tuple(made)


def _all_settings(choice: Choice) -> str:
    """All settings of a defense of this project as JSON, in which 1, 1.0 and true differ."""
    settings = default_settings("defense", choice.name, "defense")
    settings |= flatten(choice.resolved, "defense.resolved.")
    return json.dumps(settings, sort_keys=True)


def _components(attack: EnteredAttack) -> Iterator[tuple[str, str, Choice]]:
    """The key of each component of an attack in a record, its kind, and the component."""
    yield "attack.trigger", "trigger", attack.trigger
    yield "attack.target", "target", attack.target
    if attack.test_trigger:
        yield "attack.test_trigger", "trigger", attack.test_trigger


def _without_given(attack: dict[str, Any]) -> dict[str, Any]:
    """An attack without the settings that were given, which are of no cell."""
    left = {}
    for key, value in attack.items():
        if key == "also" and value:
            value = _without_given(value)
        elif isinstance(value, dict):
            value = {name: facts for name, facts in value.items() if name != "given"}
        left[key] = value
    return left
