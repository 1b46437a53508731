"""Frozen grids: a cell belongs to one if nothing of it but the defense is chosen freely, and the images are the same.

A preset with a `protocol`, a name with a number, is frozen: what its cells are never changes under that name.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from benchmark.config.cell import Cell
from benchmark.config.grid import PRESETS, cells, load, preset_names, read_yaml
from benchmark.recipe import RUNNING
from benchmark.utils.hashing import content_key


@dataclass(frozen=True)
class FrozenGrid:
    """A frozen grid. splits: what `DataCache.splits` must give, as far as it is listed. cells: their `signature`s.

    counted: `Images.checksum` of every record of it; None where that is not fixed.
    """

    name: str
    preset: str
    splits: dict[str, str]
    cells: frozenset[str]
    counted: str | None = None


@cache
def frozen() -> list[FrozenGrid]:
    """All frozen grids."""
    found = []
    for preset in preset_names():
        asked = read_yaml(PRESETS / f"{preset}.yaml")
        if "protocol" in asked:
            grid = frozenset(map(signature, cells(load(preset))))
            found.append(FrozenGrid(asked["protocol"], preset, asked.get("splits", {}), grid, asked.get("counted")))
    return found


def protocol_of(cell: Cell, splits: Callable[[Cell], dict[str, str]]) -> str | None:
    """The name of the frozen grid that a cell belongs to; None where it belongs to none.

    splits: what its images are, see `DataCache.splits`; asked for only where all else fits.
    """
    fits = [grid for grid in frozen() if signature(cell) in grid.cells]
    return next((grid.name for grid in fits if not grid.splits or splits(cell).items() <= grid.splits.items()), None)


def signature(cell: Cell) -> str:
    """A hash of all that a cell is but for its defense, where its data lies, and how its training is run."""
    attacks: list[Any] = [one.attack_key for one in (cell, cell.also) if one and one.trigger]
    if cell.test_trigger:
        attacks.append({"test": cell.test_trigger.cache_key})
    data = {key: value for key, value in cell.data.resolved.items() if key != "root"}
    settings = cell.settings.model_dump(exclude={"poison_rate", "choose", "latent", "eval_batch"})
    return content_key([cell.data.name, data, cell.model.cache_key, attacks, settings,
                        cell.recipe.model_dump(exclude=RUNNING)])
