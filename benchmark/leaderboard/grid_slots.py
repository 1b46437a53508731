"""Grid slots: the cells of a frozen grid without their defense, and the slot that a record fills.

The slots of a grid of attacks are in `benchmark.leaderboard.attack_slots`.

Only the cells of the grid, which is part of this project, are built. The settings in a record,
which anybody may have written, are compared with theirs and never built or run.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

from attacks.base import Target
from benchmark.config.cell import Cell
from benchmark.config.grid import cells
from benchmark.config.request import load_request, override
from benchmark.recipe import RUNNING, Recipe
from benchmark.registry import find, settings_of
from benchmark.results.describe import describe_attack, describe_component
from benchmark.results.record import Choice, Record
from benchmark.utils.strict_json import InvalidFile

FlatSettings = dict[str, Any]  # by dotted key: {'model.resolved.width': 64, ...}

# The fields of a record that a grid fixes, and the fields within them that it leaves open: which
# settings were given and not defaults, and what was measured.
_FIXED = {"audit", "variant", "seed", "data", "model", "attack", "training"}
_GIVEN = {"given"}
_ATTACK = {"poisoned": True, "covers": True, "images": True, "psnr": True, "ssim": True,
           "trigger": _GIVEN, "target": _GIVEN, "test_trigger": _GIVEN}
_OPEN = {"data": _GIVEN, "model": _GIVEN, "training": _GIVEN, "attack": _ATTACK | {"also": _ATTACK}}


@dataclass(frozen=True)
class GridSlot:
    """A cell of a frozen grid, whatever its defense.

    settings: the `victim_settings` of its records.
    defaults: values for the settings that an older record lacks, by the same keys.
    tau: the attacker's count for a true count; None without an attack, or where the true count
        alone does not determine it.
    """

    title: str
    settings: FlatSettings
    defaults: FlatSettings
    tau: Callable[[int], int] | None

    @cached_property
    def data_key(self) -> str:
        """The settings of the images, as text: the same for slots with the same images."""
        return self._key(lambda name: name.startswith("data."))

    @cached_property
    def counter_key(self) -> str:
        """All settings but those of the attack, as text: the same for the same clean counter."""
        return self._key(lambda name: name.partition(".")[0] != "attack")

    @cached_property
    def trigger_key(self) -> str:
        """The settings of the trigger on the test images, as text."""
        kinds = [kind for kind in ("attack.test_trigger.", "attack.trigger.")
                 if any(name.startswith(kind) for name in self.settings)]
        return self._key(lambda name: bool(kinds) and name.startswith(kinds[0]))

    def _key(self, includes: Callable[[str], bool]) -> str:
        settings = {name: value for name, value in self.settings.items() if includes(name)}
        return json.dumps(settings, sort_keys=True)


@cache
def slots(preset: str, attack: str | None = None) -> tuple[GridSlot, ...]:
    """The slots of a frozen grid, by the name of its preset.

    attack: 'none' for the clean counters alone; None for the attacks of the preset.
    """
    closed = ["defense=none"] if attack is None else ["defense=none", f"attack={attack}"]
    request = override(load_request(preset), closed)
    return tuple(_slot(cell) for cell in cells(request))


def victim_settings(record: Record) -> FlatSettings:
    """The settings that determine the victim of a record, or its clean counter without an attack.

    Which of them were given, and what was measured, is left out.
    """
    return dict(flatten(record.model_dump(mode="json", include=_FIXED, exclude=_OPEN)))


def find_slot(record: Record, grid_slots: Sequence[GridSlot]) -> GridSlot:
    """The slot that a record fills.

    Raises:
        InvalidFile: no slot has the settings of the record. The error is about the first setting
            that differs from the most similar slot.
    """
    settings = victim_settings(record)
    names = _names(settings)
    similar = [slot for slot in grid_slots if _names(slot.settings) == names]
    if not similar:
        model, trigger, target, seed = names
        attack = f"{trigger:.60}/{target:.60}" if target else "no attack"
        raise InvalidFile("cell", f"model {model!r:.60}, {attack}, seed {seed}: no such cell in "
                          f"the frozen grid; expected one of its {len(grid_slots)} cells")
    comparisons = [(slot, _differences(settings, slot)) for slot in similar]
    slot, differences = min(comparisons, key=lambda comparison: len(comparison[1]))
    for key, (recorded, expected) in differences.items():
        raise InvalidFile(key[:100], f"{recorded:.200}; expected {expected:.200} as in the frozen "
                          "grid")
    return slot


def _slot(cell: Cell) -> GridSlot:
    settings = cell.settings
    training = {"resolved": cell.recipe.model_dump(exclude=RUNNING), "scale": settings.scale,
                "hold_out": settings.hold_out}
    record = Record.model_construct(
        audit=settings.audit, variant=settings.variant, seed=settings.seed,
        data=describe_component(cell.data), model=describe_component(cell.model),
        attack=describe_attack(cell, {"poisoned": [], "also": [{"poisoned": []}]}),
        training=training)
    return GridSlot(f"{cell.model.name} {cell.attack_title} seed {settings.seed}",
                    victim_settings(record), _defaults(cell),
                    tau_of_count(cell.target.build()) if cell.target else None)


def _defaults(cell: Cell) -> FlatSettings:
    components = {"data": cell.data, "model": cell.model, "attack.trigger": cell.trigger,
                  "attack.target": cell.target}
    defaults = {f"training.resolved.{key}": value for key, value in Recipe() if key not in RUNNING}
    for key, component in components.items():
        if component is not None:
            defaults |= default_settings(component.kind, component.name, key)
    return defaults


def default_settings(kind: str, name: str, key: str) -> FlatSettings:
    """The defaults of a component's settings. key: that of the component, 'attack.trigger'."""
    fields = settings_of(find(kind, name)).model_fields
    values = {name: field.get_default(call_default_factory=True)
              for name, field in fields.items() if not field.is_required()}
    as_json = Choice(name=key, resolved=values).model_dump(mode="json")["resolved"]
    return dict(flatten(as_json, f"{key}.resolved."))


def tau_of_count(target: Target) -> Callable[[int], int] | None:
    """The attacker's count for a true count; None where that alone does not determine it."""
    if type(target).fitted is not Target.fitted or type(target).tau is Target.tau:
        return None  # the count depends on the poisoned images, or on where people are
    return target.tau


def flatten(settings: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The settings of nested objects, with their dotted keys.

    An empty object is a value, except for the `resolved` of a component without settings.
    """
    for key, value in settings.items():
        if isinstance(value, dict) and (value or key == "resolved"):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _names(settings: FlatSettings) -> tuple[Any, ...]:
    """The names of the model, the trigger and the target, and the seed."""
    keys = ("model.name", "attack.trigger.name", "attack.target.name", "seed")
    return tuple(settings.get(key) for key in keys)


def _differences(settings: FlatSettings, slot: GridSlot) -> dict[str, tuple[str, str]]:
    """Each key whose values differ, with the value of the record and that of the slot."""
    differences = {}
    for key in sorted(settings.keys() | slot.settings.keys()):
        recorded = _text(settings.get(key, slot.defaults.get(key, ...)))
        expected = _text(slot.settings.get(key, ...))
        if recorded != expected:
            differences[key] = recorded, expected
    return differences


def _text(value: Any) -> str:
    """A value as JSON, in which 1, 1.0 and true differ; 'nothing' for a missing setting."""
    return "nothing" if value is ... else json.dumps(value, sort_keys=True)
