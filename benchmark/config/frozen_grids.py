"""Frozen grids: presets whose cells never change under their name.

A preset with a `protocol`, a name with a number, is frozen. A cell belongs to the grid if all of
its settings but the defense are those of the preset, and if its images are the same.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

from benchmark.config.axes import expand
from benchmark.config.cell import Cell
from benchmark.config.grid import cells
from benchmark.config.request import (PRESETS, as_mapping, load_request, override, preset_names,
                                      read_yaml)
from benchmark.recipe import RUNNING
from benchmark.utils.hashing import content_key


@dataclass(frozen=True)
class FrozenGrid:
    """A frozen grid.

    splits: the hashes that `DataCache.splits` must give, as far as they are listed.
    counted: the `Images.checksum` of all its records; None where that is not fixed.
    """

    name: str
    preset: str
    splits: dict[str, str]
    counted: str | None = None

    @cached_property
    def undefended(self) -> list[Cell]:
        """The cells without a defense, built once."""
        return cells(override(load_request(self.preset), ["defense=none"]))

    @cached_property
    def signatures(self) -> frozenset[str]:
        """The `signature` of each cell, which does not depend on the defense."""
        return frozenset(map(signature, self.undefended))

    @cached_property
    def models(self) -> set[str]:
        """The names of the models, read without building a cell."""
        choices = expand(load_request(self.preset)["model"])
        return {as_mapping("model", choice)["name"] for choice in choices}


@cache
def frozen() -> list[FrozenGrid]:
    """All frozen grids."""
    grids = []
    for preset in preset_names():
        request = read_yaml(PRESETS / f"{preset}.yaml")
        if "protocol" in request:
            grids.append(FrozenGrid(request["protocol"], preset, request.get("splits", {}),
                                    request.get("counted")))
    return grids


def protocol_of(cell: Cell, splits: Callable[[Cell], dict[str, str]]) -> str | None:
    """The name of the frozen grid that a cell belongs to; None where it belongs to none.

    splits: gives the hashes of a cell's images, see `DataCache.splits`; called only where
        everything else fits.
    """
    for grid in frozen():
        fits = cell.model.name in grid.models and signature(cell) in grid.signatures
        if fits and (not grid.splits or splits(cell).items() <= grid.splits.items()):
            return grid.name
    return None


def signature(cell: Cell) -> str:
    """A hash of a cell without its defense, the folder of its data and how its training is run."""
    attacks: list[Any] = [one.attack_key for one in (cell, cell.also) if one and one.trigger]
    if cell.test_trigger:
        attacks.append({"test": cell.test_trigger.cache_key})
    data = {key: value for key, value in cell.data.resolved.items() if key != "root"}
    settings = cell.settings.model_dump(exclude={"poison_rate", "choose", "latent", "eval_batch"})
    return content_key([cell.data.name, data, cell.model.cache_key, attacks, settings,
                        cell.recipe.model_dump(exclude=RUNNING)])
