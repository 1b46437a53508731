"""The leaderboard: the defenses that did the whole of a frozen grid, in the order of what they leave right.

Ranked by RA, the share of triggered images that are counted to within 10%, the mean over all victims of the grid. It is
low where the backdoor is left, and low where the counter is ruined.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from benchmark.leaderboard.reruns import RECOMPUTED
from benchmark.metrics import counting
from benchmark.metrics.significance import holm, interval, mcnemar
from benchmark.results.record import Record
from benchmark.results.result import Result
from benchmark.results.scenarios import Scenario, defense_settings, entry_of, suffixes
from benchmark.tables.controls import SHARED
from benchmark.tables.defenses import cost, known
from benchmark.tables.formats import NONE, Table, number, probability, with_interval
from benchmark.utils.strict_json import InvalidFile

if TYPE_CHECKING:
    from benchmark.config.frozen_grids import FrozenGrid

LEVEL = 0.05
MEANS = {"RA": "ra", "rho_Acc": "rho_acc", "flip rate": "flip_rate", "rho_Asr": "rho_asr", "Opp": "opp", "eASR": "easr",
         "attainment": "attainment", "MAE": "mae", "RMSE": "rmse"}  # over the attacks of the grid
LEGEND = [
    "Each number is a mean over all models, attacks and seeds of the grid, with its 95% interval, bootstrap over seeds "
    "and images; where an attack has no such number, over those that have it. RA: triggered images counted to within "
    "10%, by which is ranked. rho_Acc: the same of clean images. clean rho_Acc: of clean counters with the defense "
    "applied. DER: against none, on the means over seeds of eASR and rho_Acc; .5 is no effect. knows: clean training "
    "images + clean validation images; E extra images, P the poisoned training set. seconds: of a victim's repair, on "
    "the records' machines.",
    "RA - none, RA - best: beside the same victims undefended, and beside the first of the ranking; p by exact McNemar "
    "tests over images, an image's victims and seeds as one, after Holm's correction for all tests of the table. "
    f"A difference with p >= {LEVEL} may be chance, and so may the order of its defenses.",
    "'control': none, retraining and continued poisoned training, which say what a defense must beat; they have no "
    "rank. 'incomplete': some cells of the grid were not run, and a mean over others is not compared.",
]


@dataclass(frozen=True)
class Entrant:
    """A defense on the victims of one source. cells: by the settings of the victim, as far as the grid has them."""

    first: Result
    results: Mapping[str, Result]
    wanted: int  # cells of the grid, a seed each

    @property
    def there(self) -> int:
        return sum(len(result.records) for result in self.results.values())

    @property
    def complete(self) -> bool:
        return self.there == self.wanted

    @property
    def control(self) -> bool:
        return self.first.defense in SHARED

    @cached_property
    def attacked(self) -> dict[str, Result]:
        return {key: result for key, result in sorted(self.results.items()) if result.records[0].attack}

    def mean(self, key: str) -> tuple[float, float, float]:
        """The mean of a number over the attacks, and the ends of its interval."""
        results = [result for result in self.attacked.values() if key in result.replicates]
        if not results:
            return math.nan, math.nan, math.nan
        return (float(np.mean([result.numbers[key] for result in results])),
                *interval(np.mean([result.replicates[key] for result in results], axis=0)))

    def successes(self, key: str) -> np.ndarray:
        """A share image by image, bool [victims and seeds, N]."""
        return np.concatenate([result.successes(key) for result in self.attacked.values()])


def ranking_tables(scenarios: Sequence[Scenario]) -> list[Table]:
    """The leaderboard of each frozen grid that the records hold all victims of, for some defense."""
    if not any(record.protocol for scenario in scenarios for result in scenario.results for record in result.records):
        return []
    from benchmark.config.frozen_grids import frozen  # what builds a grid needs torch, most tables do not

    found = []
    for grid in frozen():
        entrants = _entrants(scenarios, grid)
        if any(entrant.complete and not entrant.control for entrant in entrants):
            found.append(_table(grid.name, entrants))
    return found


def _entrants(scenarios: Sequence[Scenario], grid: "FrozenGrid") -> list[Entrant]:
    from benchmark.leaderboard.grid_slots import slots

    groups: dict[str, dict[str, Result]] = {}
    for scenario in scenarios:
        for result in scenario.results:
            if not result.detects and all(_belongs(record, grid) for record in result.records):
                own = {key: value for key, value in defense_settings(result).items() if key != "model"}
                who = json.dumps([own, scenario.settings.get("victims", "")], sort_keys=True)
                groups.setdefault(who, {})[json.dumps(scenario.grid, sort_keys=True)] = result
    wanted = len(slots(grid.preset))
    return [Entrant(next(iter(results.values())), results, wanted) for _, results in sorted(groups.items())]


def _belongs(record: Record, grid: "FrozenGrid") -> bool:
    """Whether it is a cell of the grid, and not merely says so."""
    from benchmark.leaderboard.grid_slots import slot_of, slots

    try:
        return (record.protocol == grid.name and grid.counted in (None, record.images.checksum)
                and bool(slot_of(record, slots(grid.preset))))
    except InvalidFile:
        return False


def _table(protocol: str, entrants: Sequence[Entrant]) -> Table:
    told = suffixes([defense_settings(one.first) | _victims(one) for one in entrants],
                    shown=("model", "defense"))
    names = {id(one): one.first.defense + suffix for one, suffix in zip(entrants, told)}
    whole = sorted((one for one in entrants if one.complete), key=lambda one: (-one.mean("ra")[0], names[id(one)]))
    best = next(one for one in whole if not one.control)
    bases = {_source(one): one for one in whole if one.first.defense == "none"}
    tests = {(id(one), heading): (one, other) for one in whole
             for heading, other in (("RA - none", bases.get(_source(one))), ("RA - best", best))
             if other is not None and other is not one}
    p = dict(zip(tests, holm([mcnemar(one.successes("ra"), other.successes("ra")) for one, other in tests.values()])))
    lines, rank = [], 0
    for one in whole:
        rank += not one.control
        line = _line(one, names[id(one)], "control" if one.control else str(rank), bases.get(_source(one)))
        for heading in ("RA - none", "RA - best"):
            pair = tests.get((id(one), heading))
            line[heading] = NONE if pair is None else f"{pair[0].mean('ra')[0] - pair[1].mean('ra')[0]:+.3f}"
            line[f"p {heading[5:]}"] = NONE if pair is None else probability(p[id(one), heading])
        lines.append(line)
    lines += [{"rank": "incomplete", "defense": names[id(one)], "cells": f"{one.there}/{one.wanted}"}
              for one in entrants if not one.complete]
    frame = pd.DataFrame(lines).fillna(NONE)
    if not any(entry_of(one.first.records[0]) for one in entrants):
        frame = frame.drop(columns=["entry", "tier"])
    return Table(f"leaderboard-{protocol}", f"Leaderboard of {protocol}", frame, LEGEND)


def _victims(entrant: Entrant) -> dict[str, str]:
    """Whose victims they are, where that is no part of the defense's name."""
    return {"victims": _source(entrant)} if entrant.control else {}


def _source(entrant: Entrant) -> str:
    return entrant.first.settings.get("victims", "")


def _line(entrant: Entrant, name: str, rank: str, base: Entrant | None) -> dict[str, str]:
    results = list(entrant.results.values())
    entry = entry_of(entrant.first.records[0])
    line = {"rank": rank, "defense": name, "entry": entry.get("name", NONE), "tier": entry.get("tier", RECOMPUTED),
            "knows": known(results)}
    line |= {heading: with_interval(*entrant.mean(key), 2 if key in ("mae", "rmse") else 3)
             for heading, key in MEANS.items()}
    clean = [result.numbers["rho_acc"] for key, result in entrant.results.items() if key not in entrant.attacked]
    return line | {"clean rho_Acc": number(float(np.mean(clean))) if clean else NONE, "DER": _der(entrant, base),
                   "seconds": cost(results), "cells": f"{entrant.there}/{entrant.wanted}"}


def _der(entrant: Entrant, base: Entrant | None) -> str:
    """DER, the mean over the attacks, with its interval."""
    if base is None or base is entrant:
        return NONE
    pairs = [(base.attacked[key], result) for key, result in entrant.attacked.items() if "easr" in result.replicates]

    def mean(of: Callable[[Result], Mapping[str, np.ndarray]]) -> np.ndarray:
        return np.mean([counting.der(of(before)["easr"], of(after)["easr"], of(before)["rho_acc"], of(after)["rho_acc"])
                        for before, after in pairs], axis=0)

    if not pairs:
        return NONE
    return with_interval(float(mean(lambda result: result.numbers)), *interval(mean(lambda result: result.replicates)))
