"""A cell of the grid: its components, settings and names."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import Any, Literal

from pydantic import Field

from attacks.base import Attack, Choose
from benchmark.recipe import Recipe
from benchmark.registry import Settings, build, checked, find, resolve, settings_of
from benchmark.utils.hashing import content_key
from defenses.base import Detector, Inspector

POISONING = ("poison_rate", "choose", "latent")  # of an attack, neither the trigger's nor the target's


class Protocol(Settings):
    """Settings of a cell that belong to no entry.

    audit: the counter is the one that model.weights holds; nothing is trained but what a defense trains.
    variant: which reading of the paper the settings follow, its 'text' or its 'code'; a label, and each is a preset.
    scale: images and annotations are resized by it. hold_out: share of the training images kept for validation.
    poison_rate: poisoned images added, as a share of the training images. choose, latent: see `Attack`.
    eval_batch: images counted at once.
    """

    audit: bool = False
    variant: Literal["text", "code"] = "text"
    scale: float = Field(1.0, gt=0, le=1)
    hold_out: float = Field(0.1, ge=0, lt=1)
    poison_rate: float = Field(0.1, gt=0, le=1)
    choose: Choose | None = None
    latent: float = Field(0.0, ge=0)
    seed: int = Field(0, ge=0, lt=2**63)  # torch takes no larger one
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
        defaults = {key: field.get_default(call_default_factory=True) for key, field in fields.items()}
        return {key: value for key, value in self.resolved.items() if value != defaults[key]}

    @property
    def title(self) -> str:
        """Its name and its settings that are not the defaults, but for initial weights: what its speed depends on."""
        changed = {key: value for key, value in self.changed.items() if key != "weights"}
        return " ".join([self.name, *(f"{key}={value}" for key, value in sorted(changed.items()))])

    def build(self) -> Any:
        """The entry itself. Raises UserError."""
        return build(self.kind, self.name, self.given)


@dataclass(frozen=True)
class Cell:
    """One cell of the grid. trigger and target are None where there is no attack.

    test_trigger: what test images are stamped with, where that is another setting of the trigger than in training.
    also: the cell of another attack that the victim is poisoned with too; this one is measured.
    """

    protocol: Protocol
    data: Entry
    model: Entry
    trigger: Entry | None
    target: Entry | None
    defense: Entry
    training: dict[str, Any]
    test_trigger: Entry | None = None
    also: "Cell | None" = None

    @property
    def attack(self) -> Attack | None:
        """The attack, built. Raises UserError."""
        if self.trigger is None or self.target is None:
            return None
        return Attack(self.trigger.build(), self.target.build(),
                      *(getattr(self.protocol, setting) for setting in POISONING))

    @property
    def tested(self) -> Attack | None:
        """The attack as it is on the test images. Raises UserError."""
        return replace(self.attack, trigger=self.test_trigger.build()) if self.test_trigger else self.attack

    @cached_property
    def recipe(self) -> Recipe:
        """The counter's own recipe with this cell's overrides. Raises UserError."""
        own = find("model", self.model.name).recipe.model_dump()
        return checked(Recipe, own | self.training, "training")

    @property
    def title(self) -> str:
        """A short name for people: model, attack and defense with the settings that were given, seed."""
        attack = " and ".join(one.attack_title for one in (self, self.also) if one)
        return f"{self.model.name} {attack} {self.defense_title} seed {self.protocol.seed}"

    @property
    def defense_title(self) -> str:
        """A short name of its defense, with the settings that were given."""
        return " ".join([self.defense.name, *(f"{key}={value}" for key, value in self.defense.given.items())])

    @property
    def attack_title(self) -> str:
        """A short name of its attack: 'blended/multiply alpha=0.2', or 'clean'."""
        if self.trigger is None or self.target is None:
            return "clean"
        given = {key: getattr(self.protocol, key) for key in POISONING if key in self.protocol.model_fields_set}
        given |= self.trigger.given | self.target.given
        if self.test_trigger:
            given |= {f"test_{key}": value for key, value in self.test_trigger.given.items()
                      if value != self.trigger.given.get(key)}
        return " ".join([f"{self.trigger.name}/{self.target.name}", *(f"{k}={v}" for k, v in given.items())])


Facts = dict[str, Any]


def known_by(entry: Entry) -> list[Any]:
    """What of an entry decides results: its name, its version, and its settings that are not the defaults."""
    return [entry.name, find(entry.kind, entry.name).version, entry.changed]


def attacks(cell: Cell) -> list[Cell]:
    """The cells of all attacks on a cell's victim, in an order that does not depend on which of them is measured."""
    return sorted((one for one in (cell, cell.also) if one and one.trigger),
                  key=lambda one: content_key(attack_facts(one)))


def attack_facts(cell: Cell) -> list[Any]:
    """What of a cell's attack decides the poisoned images and the training."""
    facts = [known_by(cell.trigger), known_by(cell.target), cell.protocol.poison_rate]
    if cell.protocol.choose is not None:
        facts.append(cell.protocol.choose)
    if cell.protocol.latent:
        facts.append({"latent": cell.protocol.latent})
    return facts


def reads_train(cell: Cell) -> bool:
    """Whether a cell reads the training split: an audit does so only for a defense that asks for images."""
    knows = cell.defense.build().knows
    return not cell.protocol.audit or bool(knows.clean or knows.extra or knows.poisoned or knows.validation)


def repairs(cell: Cell) -> bool:
    """Whether a cell's defense makes another counter of the victim."""
    return cell.defense.name != "none" and not issubclass(find("defense", cell.defense.name), Detector | Inspector)


def without_given(cell: Cell) -> Cell:
    """In an audit, the cell that trains its counter, which starts from the counter's own initial weights."""
    if not cell.protocol.audit:
        return cell
    given = {key: value for key, value in cell.model.given.items() if key != "weights"}
    return replace(cell, protocol=cell.protocol.model_copy(update={"audit": False}),
                   model=replace(cell.model, given=given))


def titles(cells: Sequence[Cell]) -> list[str]:
    """A name for each cell: its title, and the settings in which it differs from others of the same title."""
    alike = defaultdict(list)
    for cell in cells:
        alike[cell.title].append(_beside_the_title(cell))
    differing = {title: [key for key in dict.fromkeys(chain(*group))
                         if any(one.get(key) != group[0].get(key) for one in group)]
                 for title, group in alike.items()}
    places = {title: iter(group) for title, group in alike.items()}
    told = [", ".join(f"{key} {own.get(key)}" for key in differing[cell.title])
            for cell in cells for own in [next(places[cell.title])]]
    return [f"{cell.title} ({more})" if more else cell.title for cell, more in zip(cells, told)]


def _beside_the_title(cell: Cell) -> dict[str, Any]:
    """Settings that the title does not have."""
    entries = {f"{kind}.{key}": value for kind, entry in (("data", cell.data), ("model", cell.model))
               for key, value in entry.resolved.items()}
    return {"data": cell.data.name} | entries | {f"training.{key}": value for key, value in cell.recipe} | dict(
        cell.protocol)
