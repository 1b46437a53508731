"""Cells of the grid: an experiment's components, settings, names and cache keys."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from attacks.parts.selection import Choose
from benchmark.recipe import Recipe
from benchmark.registry import Settings, build, checked, find, resolve, settings_of
from benchmark.utils.errors import shown
from benchmark.utils.hashing import content_key

if TYPE_CHECKING:
    from attacks.base import Attack

KeyParts = dict[str, Any]  # the parts of a cache key, ready for JSON
# Settings of an attack that belong to neither trigger nor target.
POISONING = ("poison_rate", "choose", "latent", "cover_rate")


class ExperimentSettings(Settings):
    """Settings of a cell that belong to none of its components.

    audit: the counter is the trained one in the file `model.weights`, and only a defense trains
        anything.
    variant: the reading of the paper that the settings follow, its 'text' or its 'code'. It is a
        label; the presets set everything that belongs to it.
    scale: the factor by which images and annotations are resized.
    hold_out: the share of the training images that is kept for validation.
    poison_rate: the number of poisoned images that are added, as a share of the training images.
    choose, latent, cover_rate: see `attacks.base.Attack`.
    eval_batch: the number of images that are counted at once.
    """

    audit: bool = False
    variant: Literal["text", "code"] = "text"
    scale: float = Field(1.0, gt=0, le=1)
    hold_out: float = Field(0.1, ge=0, lt=1)
    poison_rate: float = Field(0.1, gt=0, le=1)
    choose: Choose | None = None
    latent: float = Field(0.0, ge=0)
    cover_rate: float = Field(0.0, ge=0, le=1)
    seed: int = Field(0, ge=0, lt=2**63)  # torch takes no larger one
    eval_batch: int = Field(8, ge=1)

    @property
    def added(self) -> float:
        """The poisoned and the cover copies, as a share of the training images."""
        return self.poison_rate + self.cover_rate


@dataclass(frozen=True)
class Component:
    """A registered attack part, defense, model or dataset, with the settings that were given."""

    kind: str
    name: str
    given: dict[str, Any]

    @cached_property
    def resolved(self) -> dict[str, Any]:
        """All settings, checked, with the defaults of those not given. Raises UserError."""
        return resolve(self.kind, self.name, self.given)

    @property
    def changed(self) -> dict[str, Any]:
        """The settings that differ from their defaults.

        Only these enter cache keys, so that a new setting with a default changes no key.
        """
        fields = settings_of(find(self.kind, self.name)).model_fields
        defaults = {key: field.get_default(call_default_factory=True)
                    for key, field in fields.items()}
        return {key: value for key, value in self.resolved.items() if value != defaults[key]}

    @property
    def cache_key(self) -> list[Any]:
        """The name, the version, and the settings that differ from their defaults."""
        return [self.name, self.version, self.changed]

    @property
    def version(self) -> int | str:
        """The component's version; a trigger that draws others names theirs, too.

        A dataset of this project has none and counts as the first: its images have hashes.
        """
        if self.kind == "trigger":
            return self.build().full_version
        return getattr(find(self.kind, self.name), "version", 1)

    @property
    def title(self) -> str:
        """The name and the settings that differ from their defaults.

        Initial weights are left out, because they cost no time.
        """
        changed = {key: value for key, value in self.changed.items() if key != "weights"}
        settings = [f"{key}={shown(value)}" for key, value in sorted(changed.items())]
        return " ".join([self.name, *settings])

    def build(self) -> Any:
        """The component itself. Raises UserError.

        A model is a new one; anything else is always the same one, which is immutable.
        """
        return self._instance if self.kind != "model" else build(self.kind, self.name, self.given)

    def __reduce__(self) -> tuple[Any, ...]:
        """Leave the cached values out: the class of a plugin cannot be pickled."""
        return Component, (self.kind, self.name, self.given)

    @cached_property
    def _instance(self) -> Any:
        return build(self.kind, self.name, self.given)


@dataclass(frozen=True)
class Cell:
    """One cell of the grid: one experiment, which gives one record.

    trigger, target: None where there is no attack.
    test_trigger: the trigger of the test images, where its settings differ from those in training.
    also: the cell of a second attack on the same victim. The attack of this cell is the one
        that is measured.
    """

    settings: ExperimentSettings
    data: Component
    model: Component
    trigger: Component | None
    target: Component | None
    defense: Component
    training: dict[str, Any]
    test_trigger: Component | None = None
    also: "Cell | None" = None

    @property
    def attack(self) -> "Attack | None":
        """The attack, built. Raises UserError."""
        if self.trigger is None or self.target is None:
            return None
        from attacks.base import Attack  # imports torch

        return Attack(self.trigger.build(), self.target.build(),
                      *(getattr(self.settings, setting) for setting in POISONING))

    @property
    def tested(self) -> "Attack | None":
        """The attack with the trigger of the test images. Raises UserError."""
        if not self.test_trigger:
            return self.attack
        return replace(self.attack, trigger=self.test_trigger.build())

    @property
    def attacks(self) -> "list[Cell]":
        """The cells of all attacks on the victim.

        Their order does not depend on which of them is measured.
        """
        attacked = [cell for cell in (self, self.also) if cell and cell.trigger]
        return sorted(attacked, key=lambda cell: content_key(cell.attack_key))

    @property
    def attack_key(self) -> list[Any]:
        """Cache key of the attack: all that determines the poisoned images and their effect."""
        key = [self.trigger.cache_key, self.target.cache_key, self.settings.poison_rate]
        if self.settings.choose is not None:
            key.append(self.settings.choose)
        for setting in ("latent", "cover_rate"):
            if getattr(self.settings, setting):
                key.append({setting: getattr(self.settings, setting)})
        return key

    @property
    def trigger_in_test(self) -> Component | None:
        """The trigger on the test images; None where there is no attack."""
        return self.test_trigger or self.trigger

    @property
    def repairs(self) -> bool:
        """Whether the defense makes another counter of the victim."""
        return find("defense", self.defense.name).repairs

    @property
    def reads_train(self) -> bool:
        """Whether the training split is read.

        An audit reads it only for a defense that asks for images.
        """
        knows = self.defense.build().knows
        asks_for_images = knows.clean or knows.extra or knows.poisoned or knows.validation
        return not self.settings.audit or bool(asks_for_images)

    @property
    def without_attack(self) -> "Cell":
        """The cell of the clean counter, with the same defense."""
        return replace(self, trigger=None, target=None, test_trigger=None, also=None)

    @property
    def without_given_weights(self) -> "Cell":
        """In an audit, the cell that trains from the model's initial weights; else this cell."""
        if not self.settings.audit:
            return self
        given = {key: value for key, value in self.model.given.items() if key != "weights"}
        return replace(self, settings=self.settings.model_copy(update={"audit": False}),
                       model=replace(self.model, given=given))

    @cached_property
    def recipe(self) -> Recipe:
        """The model's own recipe with the overrides of this cell. Raises UserError."""
        own = find("model", self.model.name).recipe.model_dump()
        return checked(Recipe, own | self.training, "training")

    @property
    def title(self) -> str:
        """A name for people: model, attack and defense with the given settings, and the seed."""
        attack = " and ".join(cell.attack_title for cell in (self, self.also) if cell)
        return f"{self.model.name} {attack} {self.defense_title} seed {self.settings.seed}"

    @property
    def defense_title(self) -> str:
        """A short name of the defense, with the settings that were given."""
        settings = [f"{key}={shown(value)}" for key, value in self.defense.given.items()]
        return " ".join([self.defense.name, *settings])

    @property
    def attack_title(self) -> str:
        """A short name of the attack: 'blended/multiply alpha=0.2', or 'clean'."""
        if self.trigger is None or self.target is None:
            return "clean"
        given = {key: getattr(self.settings, key) for key in POISONING
                 if key in self.settings.model_fields_set}
        given |= self.trigger.given | self.target.given
        if self.test_trigger:
            given |= {f"test_{key}": value for key, value in self.test_trigger.given.items()
                      if value != self.trigger.given.get(key)}
        settings = [f"{key}={shown(value)}" for key, value in given.items()]
        return " ".join([f"{self.trigger.name}/{self.target.name}", *settings])


def display_names(cells: Sequence[Cell]) -> list[str]:
    """A name for each cell: its title, and the settings that tell it from others of that title."""
    titles = [cell.title for cell in cells]
    settings = [_settings_outside_title(cell) for cell in cells]
    namesakes: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for title, own in zip(titles, settings):
        namesakes[title].append(own)
    differing = {title: differing_keys(others) for title, others in namesakes.items()}
    names = []
    for title, own in zip(titles, settings):
        more = ", ".join(f"{key} {shown(own.get(key))}" for key in differing[title])
        names.append(f"{title} ({more})" if more else title)
    return names


def differing_keys(settings: Sequence[dict[str, Any]]) -> list[str]:
    """The keys whose values are not the same in all settings."""
    keys = dict.fromkeys(chain(*settings))
    return [key for key in keys if len({repr(own.get(key)) for own in settings}) > 1]


def _settings_outside_title(cell: Cell) -> dict[str, Any]:
    """The settings that a cell's title does not show."""
    settings = {"data": cell.data.name}
    for kind, component in (("data", cell.data), ("model", cell.model)):
        settings |= {f"{kind}.{key}": value for key, value in component.resolved.items()}
    settings |= {f"training.{key}": value for key, value in cell.recipe}
    return settings | dict(cell.settings)
