"""Frozen grids: presets whose cells never change under their name.

A preset with a `protocol`, a name with a number, is frozen, but for one axis that is open:

defense   A cell belongs to the grid if all of its settings but the defense are those of the preset.
attack    A cell belongs to the grid if all of its settings but the attack are those of the preset,
          the defense included, and it poisons no more images than the grid allows. The attacks in
          the preset are only those that are run where no other is named.

In both, the images must be the same.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any, Literal

from benchmark.config.axes import expand
from benchmark.config.cell import POISONING, Cell, Component
from benchmark.config.grid import cells, defenses_of
from benchmark.config.request import (PRESETS, as_mapping, load_request, override, preset_names,
                                      read_yaml)
from benchmark.recipe import RUNNING
from benchmark.utils.hashing import content_key


@dataclass(frozen=True)
class FrozenGrid:
    """A frozen grid.

    splits: the hashes that `DataCache.splits` must give, as far as they are listed.
    counted: the `Images.checksum` of all its records; None where that is not fixed.
    open: the axis that is open.
    most_poisoned: the largest share of the training images that an attack may poison.
    """

    name: str
    preset: str
    splits: dict[str, str] = field(hash=False)
    counted: str | None = None
    open: Literal["defense", "attack"] = "defense"
    most_poisoned: float = 1.0

    @property
    def takes_attacks(self) -> bool:
        """Whether its open axis is the attack."""
        return self.open == "attack"

    @cached_property
    def fixed_cells(self) -> list[Cell]:
        """The cells without their value on the open axis: no defense, or no attack.

        In a grid of attacks these are the clean counters, without a defense.
        """
        closed = ["defense=none", "attack=none"] if self.takes_attacks else ["defense=none"]
        return cells(override(load_request(self.preset), closed))

    @cached_property
    def signatures(self) -> frozenset[str]:
        """The `signature` of each of the `fixed_cells`."""
        return frozenset(map(signature, self.fixed_cells))

    @cached_property
    def defenses(self) -> list[Component]:
        """The defenses of the preset, in its order."""
        return defenses_of(load_request(self.preset))

    @cached_property
    def models(self) -> set[str]:
        """The names of the models, read without building a cell."""
        choices = expand(load_request(self.preset)["model"])
        return {as_mapping("model", choice)["name"] for choice in choices}

    def has(self, cell: Cell) -> bool:
        """Whether a cell belongs to the grid, whatever its images are."""
        if cell.model.name not in self.models:
            return False
        if not self.takes_attacks:
            return signature(cell) in self.signatures
        if cell.trigger is None or signature(cell.without_attack) not in self.signatures:
            return False
        defenses = [content_key(defense.cache_key) for defense in self.defenses]
        return (content_key(cell.defense.cache_key) in defenses
                and poisoned_share(cell) <= self.most_poisoned)


@cache
def frozen() -> list[FrozenGrid]:
    """All frozen grids: first those of defenses, whose names go before those of attacks."""
    grids = []
    for preset in preset_names():
        request = read_yaml(PRESETS / f"{preset}.yaml")
        if "protocol" in request:
            grids.append(FrozenGrid(request["protocol"], preset, request.get("splits", {}),
                                    request.get("counted"), request.get("open", "defense"),
                                    request.get("most_poisoned", 1.0)))
    return sorted(grids, key=lambda grid: grid.takes_attacks)


def protocol_of(cell: Cell, splits: Callable[[Cell], dict[str, str]]) -> str | None:
    """The name of the first frozen grid that a cell belongs to; None where it belongs to none.

    A cell may also belong to later ones: the paper's attacks are in grids of both sorts.

    splits: gives the hashes of a cell's images, see `DataCache.splits`; called only where
        everything else fits.
    """
    for grid in frozen():
        if grid.has(cell) and (not grid.splits or splits(cell).items() <= grid.splits.items()):
            return grid.name
    return None


def poisoned_share(cell: Cell) -> float:
    """The stamped images of all attacks on the victim, as a share of the training images.

    Cover copies count: the attacker adds them, too.
    """
    return sum(attacked.settings.added for attacked in cell.attacks)


def signature(cell: Cell) -> str:
    """A hash of a cell without its defense, the folder of its data and how its training is run."""
    attacks: list[Any] = [one.attack_key for one in (cell, cell.also) if one and one.trigger]
    if cell.test_trigger:
        attacks.append({"test": cell.test_trigger.cache_key})
    data = {key: value for key, value in cell.data.resolved.items() if key != "root"}
    settings = cell.settings.model_dump(exclude={*POISONING, "eval_batch"})
    return content_key([cell.data.name, data, cell.model.cache_key, attacks, settings,
                        cell.recipe.model_dump(exclude=RUNNING)])
