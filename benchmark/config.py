"""Settings: presets, YAML files and flags -> a checked list of cells. Defaults < preset < file < flags.

Any list is an axis of the grid: `seed: [0, 1, 2]`, `attack.alpha: [0.05, 0.1]`, or a list of attacks. Everything is
checked here, before data or device is touched.
"""

import copy
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, NonNegativeInt

from attacks.base import Attack
from benchmark.errors import UserError, did_you_mean
from benchmark.recipe import Recipe
from benchmark.registry import Settings, build, checked, find, resolve, settings_of

PRESETS = files("benchmark") / "presets"
NAMED = ("data", "model", "defense")  # each is an entry: a name and its settings


class Protocol(Settings):
    """Settings of a cell that belong to no entry.

    variant: which reading of the paper the settings follow, its 'text' or its 'code'; a label, and each is a preset.
    scale: images and annotations are resized by it. hold_out: share of the training images kept for validation.
    poison_rate: poisoned images added, as a share of the training images.
    eval_batch: images counted at once.
    """

    variant: Literal["text", "code"] = "text"
    scale: float = Field(1.0, gt=0, le=1)
    hold_out: float = Field(0.1, ge=0, lt=1)
    poison_rate: float = Field(0.1, gt=0, le=1)
    seed: NonNegativeInt = 0
    eval_batch: int = Field(8, ge=1)


@dataclass(frozen=True)
class Entry:
    """A registered entry with the settings that were given for it."""

    kind: str
    name: str
    given: dict[str, Any]

    @cached_property
    def resolved(self) -> dict[str, Any]:
        """All its settings, checked. Raises UserError."""
        return resolve(self.kind, self.name, self.given)

    @property
    def changed(self) -> dict[str, Any]:
        """The settings that differ from their defaults: what a result is known by, so that a new setting with a
        default changes no key."""
        fields = settings_of(find(self.kind, self.name)).model_fields
        return {key: value for key, value in self.resolved.items() if value != fields[key].default}

    def build(self) -> Any:
        """The entry itself. Raises UserError."""
        return build(self.kind, self.name, self.given)


@dataclass(frozen=True)
class Cell:
    """One cell of the grid. trigger and target are None where there is no attack."""

    protocol: Protocol
    data: Entry
    model: Entry
    trigger: Entry | None
    target: Entry | None
    defense: Entry
    training: dict[str, Any]

    @property
    def attack(self) -> Attack | None:
        """The attack, built. Raises UserError."""
        if self.trigger is None or self.target is None:
            return None
        return Attack(self.trigger.build(), self.target.build(), self.protocol.poison_rate)

    @cached_property
    def recipe(self) -> Recipe:
        """The counter's own recipe with this cell's overrides. Raises UserError."""
        own = find("model", self.model.name).recipe.model_dump()
        return checked(Recipe, own | self.training, "training")

    @property
    def title(self) -> str:
        """A short name for people: model, target, defense, seed."""
        target = self.target.name if self.target else "clean"
        return f"{self.model.name} {target} {self.defense.name} seed {self.protocol.seed}"


def cells(request: dict[str, Any]) -> list[Cell]:
    """The grid of a request, every cell checked.

    Raises:
        UserError: an unknown entry or key, a value that does not fit, or no cell at all.
    """
    grid = [_cell(choice) for choice in _expand(request)]
    for cell in grid:
        for entry in (cell.data, cell.model, cell.defense):
            entry.resolved
        cell.attack, cell.recipe
    return grid


def load(source: str) -> dict[str, Any]:
    """A preset by name, or a YAML file by path. Raises UserError."""
    presets = preset_names()
    if source in presets:
        return read_yaml(PRESETS / f"{source}.yaml")
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
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path}: not readable as YAML: {' '.join(str(error).split())}") from None
    if not isinstance(read, dict):
        raise UserError(f"{path}: expected a mapping of settings")
    return read


def override(request: dict[str, Any], assignments: list[str]) -> dict[str, Any]:
    """The request with `key=value` flags on top; a value with commas is a list. Raises UserError."""
    request = copy.deepcopy(request)
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key:
            raise UserError(f"--set {assignment!r}: expected key=value, for instance attack.alpha=0.05,0.1")
        values = [_scalar(part) for part in text.split(",")]
        _assign(request, key.split("."), values if len(values) > 1 else values[0], assignment)
    return request


def _scalar(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _assign(node: dict[str, Any], path: list[str], value: Any, assignment: str) -> None:
    first, *rest = path
    if not rest:
        node[first] = value
        return
    inner = node.setdefault(first, {})
    if isinstance(inner, list):  # an axis: each of its choices gets the value
        inner = node[first] = [_as_mapping(first, choice) for choice in inner]
    else:
        inner = node[first] = _as_mapping(first, inner)
    for choice in inner if isinstance(inner, list) else [inner]:
        if choice is None:
            continue
        if not isinstance(choice, dict):
            raise UserError(f"--set {assignment!r}: {first!r} is not a mapping of settings")
        _assign(choice, rest, value, assignment)


def _as_mapping(key: str, choice: Any) -> Any:
    """A bare name is short for an entry without settings; no attack stays none."""
    if not isinstance(choice, str):
        return choice
    if key == "attack":
        return None if choice == "none" else {"target": choice}
    return {"name": choice}


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
    choice = {"data": "synthetic", "model": "tiny", "attack": None, "defense": "none", "training": None} | choice
    known = {"data", "model", "attack", "defense", "training", *Protocol.model_fields} - {"poison_rate"}
    for key in choice:
        if key not in known:
            raise UserError(f"settings: unknown key {key!r}: {did_you_mean(key, known)}")
    attack = _as_mapping("attack", choice["attack"])
    attack = dict(attack) if attack else None
    rate = {"poison_rate": attack.pop("poison_rate")} if attack and "poison_rate" in attack else {}
    general = {key: choice[key] for key in Protocol.model_fields if key in choice}
    trigger, target = _attack(attack) if attack is not None else (None, None)
    return Cell(checked(Protocol, general | rate, "settings"), _entry("dataset", choice["data"]),
                _entry("model", choice["model"]), trigger, target, _entry("defense", choice["defense"]),
                choice["training"] or {})


def _entry(kind: str, choice: Any) -> Entry:
    choice = _as_mapping(kind, choice)
    if not isinstance(choice, dict) or "name" not in choice:
        raise UserError(f"{kind}: expected a name, or a mapping with a name, got {choice!r}")
    return Entry(kind, str(choice["name"]), {key: value for key, value in choice.items() if key != "name"})


def _attack(choice: dict[str, Any]) -> tuple[Entry, Entry]:
    """A trigger and a target; every other key goes to the one of the two that has such a setting."""
    given = dict(choice)
    entries = []
    for kind, default in (("trigger", "blended"), ("target", None)):
        name = given.pop(kind, default)
        if name is None:
            raise UserError("attack: expected a target, for instance attack.target=multiply")
        fields = settings_of(find(kind, str(name))).model_fields
        entries.append(Entry(kind, str(name), {key: given.pop(key) for key in list(given) if key in fields}))
    if given:
        fields = {key for entry in entries for key in settings_of(find(entry.kind, entry.name)).model_fields}
        key = next(iter(given))
        raise UserError(f"attack: unknown key {key!r}: {did_you_mean(key, fields | {'trigger', 'target', 'poison_rate'})}")
    return entries[0], entries[1]
