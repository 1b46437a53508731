"""The cells of a frozen grid without their defense, and which of them a record is of: told by the record alone.

The grid is this project's own and is built; what a stranger's record says is compared with it, and never built or run.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

from attacks.base import Target
from benchmark.config.cell import Cell
from benchmark.config.grid import cells, load, override
from benchmark.recipe import RUNNING, Recipe
from benchmark.registry import find, settings_of
from benchmark.results.describe import describe_attack, describe_component
from benchmark.results.record import Choice, Record
from benchmark.utils.strict_json import InvalidFile

Facts = dict[str, Any]  # a setting of a record, flat: {'model.resolved.width': 64, ...}
PARTS = {"audit", "variant", "seed", "data", "model", "attack", "training"}  # of a record, what a grid decides
_GIVEN = {"given"}
_ATTACK = {"poisoned": True, "images": True, "psnr": True, "ssim": True,
           "trigger": _GIVEN, "target": _GIVEN, "test_trigger": _GIVEN}
_OPEN = {"data": _GIVEN, "model": _GIVEN, "training": _GIVEN, "attack": _ATTACK | {"also": _ATTACK}}


@dataclass(frozen=True)
class GridSlot:
    """A cell of a frozen grid, whatever its defense.

    facts: what its record says, flat. defaults: what a record means that is older than a setting.
    tau: the attacker's count, where the true count alone decides it.
    """

    title: str
    facts: Facts
    defaults: Facts
    tau: Callable[[int], int] | None

    @cached_property
    def data(self) -> str:
        """What the images are decided by."""
        return self._known(lambda key: key.startswith("data."))

    @cached_property
    def counter(self) -> str:
        """What the clean counter is decided by."""
        return self._known(lambda key: key.partition(".")[0] != "attack")

    def _known(self, wanted: Callable[[str], bool]) -> str:
        return json.dumps({key: value for key, value in self.facts.items() if wanted(key)}, sort_keys=True)


@cache
def slots(preset: str) -> tuple[GridSlot, ...]:
    """The slots of a frozen grid, by the name of its preset."""
    return tuple(map(_slot, cells(override(load(preset), ["defense=none"]))))


def facts(record: Record) -> Facts:
    """What a record says of its cell but for the defense, flat: {'model.resolved.width': 64, ...}.

    Settings count, and not which of them were given; nor what was measured.
    """
    return dict(_flat(record.model_dump(mode="json", include=PARTS, exclude=_OPEN)))


def slot_of(record: Record, known: Sequence[GridSlot]) -> GridSlot:
    """The slot that a record is of. Raises InvalidFile naming what no slot has."""
    found = facts(record)
    alike = [slot for slot in known if _names(slot.facts) == _names(found)]
    if not alike:
        model, trigger, target, seed = _names(found)
        attack = f"{trigger}/{target}" if target else "no attack"
        raise InvalidFile("cell", f"model {model!r}, {attack}, seed {seed}: the frozen grid has no such cell")
    slot, differing = min(((slot, _differing(found, slot)) for slot in alike), key=lambda pair: len(pair[1]))
    for key, (here, there) in differing.items():
        raise InvalidFile(key, f"{here}; the frozen grid has {there}")
    return slot


def _slot(cell: Cell) -> GridSlot:
    told = Record.model_construct(
        audit=cell.settings.audit, variant=cell.settings.variant, seed=cell.settings.seed, data=describe_component(cell.data),
        model=describe_component(cell.model), attack=describe_attack(cell, {"poisoned": [], "also": [{"poisoned": []}]}),
        training={"resolved": cell.recipe.model_dump(exclude=RUNNING), "scale": cell.settings.scale,
                  "hold_out": cell.settings.hold_out})
    return GridSlot(f"{cell.model.name} {cell.attack_title} seed {cell.settings.seed}", facts(told), _defaults(cell),
                _tau(cell.target.build()) if cell.target else None)


def _defaults(cell: Cell) -> Facts:
    entries = {"data": cell.data, "model": cell.model, "attack.trigger": cell.trigger, "attack.target": cell.target}
    found = {f"training.resolved.{key}": value for key, value in Recipe() if key not in RUNNING}
    for at, entry in entries.items():
        fields = settings_of(find(entry.kind, entry.name)).model_fields if entry else {}
        defaults = {key: field.get_default(call_default_factory=True) for key, field in fields.items()
                    if not field.is_required()}
        plain = Choice(name=at, resolved=defaults).model_dump(mode="json")["resolved"]
        found |= _flat(plain, f"{at}.resolved.")
    return found


def _tau(target: Target) -> Callable[[int], int] | None:
    if type(target).fitted is not Target.fitted or type(target).tau is Target.tau:
        return None  # it depends on the poisoned images, or on where people are
    return target.tau


def _flat(node: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, dict) and (value or key == "resolved"):  # an entry that has no settings
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _names(found: Facts) -> tuple[Any, ...]:
    return tuple(found.get(key) for key in ("model.name", "attack.trigger.name", "attack.target.name", "seed"))


def _differing(found: Facts, slot: GridSlot) -> dict[str, tuple[str, str]]:
    """Each key that differs, with the values of the record and of the slot."""
    differing = {}
    for key in sorted(found.keys() | slot.facts.keys()):
        here, there = found.get(key, slot.defaults.get(key, ...)), slot.facts.get(key, ...)
        if _text(here) != _text(there):
            differing[key] = _text(here), _text(there)
    return differing


def _text(value: Any) -> str:
    """1, 1.0 and true differ, as they do where settings are shown."""
    return "nothing" if value is ... else json.dumps(value, sort_keys=True)
