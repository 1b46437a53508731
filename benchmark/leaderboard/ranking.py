"""Ranking: the leaderboard of each frozen grid, with the defenses that were run on all its cells.

Defenses are ranked by RA, the share of triggered images that are counted to within 10% of the
truth, as the mean over all victims of the grid. RA is low if the backdoor is left, and low if the
defense ruins the counter.
"""

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from benchmark.leaderboard.reruns import RECOMPUTED, TIERS
from benchmark.metrics import counting
from benchmark.metrics.bootstrap import interval
from benchmark.metrics.paired import Paired, infer
from benchmark.results.controls import SHARED
from benchmark.results.record import Choice, Record
from benchmark.results.result import Result
from benchmark.results.scenarios import Scenario, defense_settings, entry_of, suffixes
from benchmark.tables.controls import chance_flips
from benchmark.tables.defenses import IMAGES_USED, images_used, repair_seconds
from benchmark.tables.footnotes import unchanged_notes
from benchmark.tables.formats import (NONE, Table, as_frame, number, ranked, share_of, unranked,
                                      with_interval)
from benchmark.tables.two_levels import few_seeds, level_cells, level_legend

if TYPE_CHECKING:
    from benchmark.config.frozen_grids import FrozenGrid
    from benchmark.leaderboard.strongest_attack import EnteredAttacks

MEANS = {"RA": "ra", "rho_Acc": "rho_acc", "flip rate": "flip_rate", "rho_Asr": "rho_asr",
         "Opp": "opp", "eASR": "easr", "attainment": "attainment", "MAE": "mae", "RMSE": "rmse"}
BRIEF = ("rank", "defense", "RA", "rho_Acc", "flip rate", "RA - none", "p none, images", "cells")
LEGEND = [
    "Each number is the mean over all models, attacks and seeds of the grid, with its 95% "
    "interval, by bootstrap over seeds and images.",
    "RA is the share of triggered images that are counted to within 10% of the truth, and "
    "determines the rank, unless an entered attack leaves less of it. rho_Acc is the same share of "
    "clean images, and the flip rate the share of images that the trigger moves into the "
    "attacker's success.",
    "A 'control' is what a defense must beat: none, retraining, or continued training on the "
    "poisoned images. Controls have no rank.",
]
DETAILS = [
    "An attack for which a number does not exist is left out of its mean. A defense is "
    "'incomplete' if some cells of the grid were not run; its means would be over other cells and "
    "are left out.",
    "clean rho_Acc is the rho_Acc of clean counters with the defense applied, and chance flips "
    "their flip rate; flips beyond it are the backdoor's. DER compares the means over seeds of "
    "eASR and rho_Acc with those of no defense; a defense without effect has 0.5.",
    IMAGES_USED,
]


UNRANKED = "unranked"  # in place of a rank


@dataclass(frozen=True, eq=False)
class GridResults:
    """The results of one defense on the victims of one source in a frozen grid.

    results: at least one, by the settings of the victim, whoever trained it.
    wanted: number of cells of the grid, one per seed.
    """

    results: Mapping[str, Result]
    wanted: int

    @property
    def first(self) -> Result:
        return next(iter(self.results.values()))

    @property
    def choice(self) -> Choice:
        return self.first.records[0].defense

    @property
    def source(self) -> str:
        """The label of the victims, see `load`; '' where there are no entries."""
        return self.first.settings.get("victims", "")

    @property
    def is_control(self) -> bool:
        return self.first.defense in SHARED

    @property
    def present(self) -> int:
        """The number of cells that were run."""
        return sum(len(result.records) for result in self.results.values())

    @property
    def lacks(self) -> str:
        """A text that lists the cells that its entry lacks to be ranked; '' if it lacks none."""
        return entry_of(self.first.records[0]).get("lacks", "")

    @property
    def complete(self) -> bool:
        return self.present == self.wanted and not self.lacks

    @cached_property
    def attacked(self) -> dict[str, Result]:
        """The results on victims, without those on clean counters."""
        return {victim: result for victim, result in sorted(self.results.items())
                if result.records[0].attack}

    def mean(self, key: str) -> tuple[float, float, float]:
        """The mean of a number over the attacks, and the ends of its 95% interval; nan if none."""
        results = [result for result in self.attacked.values()
                   if not math.isnan(result.numbers.get(key, math.nan))]
        if not results:
            return math.nan, math.nan, math.nan
        mean = float(np.mean([result.numbers[key] for result in results]))
        return mean, *interval(np.mean([result.replicates[key] for result in results], axis=0))

    def successes(self, key: str) -> np.ndarray:
        """The images that a share counts, bool [V, S, N]: V victims, S seeds and N images."""
        return np.stack([result.successes(key) for result in self.attacked.values()])


def ranking_tables(scenarios: Sequence[Scenario]) -> list[Table]:
    """The leaderboards of the frozen grids that some defense, not a control, was run on in full.

    An entry is ranked if it also has all cells of no defense and of its control; see
    `label_entries`.
    """
    results = [result for scenario in scenarios for result in scenario.results]
    if not any(record.protocol for result in results for record in result.records):
        return []
    # The slots of a grid import torch, which the tables of other records do without.
    from benchmark.config.frozen_grids import frozen

    has_attacks = any(scenario.settings.get("attack.entry") for scenario in scenarios)
    tables = []
    for grid in frozen():
        defenses = [] if grid.takes_attacks else _defenses(scenarios, grid)
        if any(defense.complete and not defense.is_control for defense in defenses):
            attacks = _entered_attacks(grid, scenarios, defenses) if has_attacks else None
            tables.append(_table(grid.name, defenses, attacks))
    return tables


def _entered_attacks(grid: "FrozenGrid", scenarios: Sequence[Scenario],
                     defenses: Sequence[GridResults]) -> "EnteredAttacks | None":
    """The attacks that were entered against the defenses of a grid; None without any."""
    from benchmark.leaderboard.strongest_attack import entered_attacks

    accuracies = [result.numbers["reference_rho_acc"] for defense in defenses if defense.complete
                  for result in defense.attacked.values()]
    attacks = entered_attacks(grid, scenarios, float(np.mean(accuracies)))
    return attacks if attacks.names else None


def _defenses(scenarios: Sequence[Scenario], grid: "FrozenGrid") -> list[GridResults]:
    """The results on a grid, by the settings of the defense and the source of the victims."""
    from benchmark.leaderboard.grid_slots import slots

    groups: dict[str, dict[str, Result]] = {}
    for scenario in scenarios:
        victim = json.dumps(scenario.grid, sort_keys=True)
        source = scenario.settings.get("victims", "")
        if scenario.settings.get("attack.entry"):
            continue  # the entry of an attack is on the other side
        for result in scenario.results:
            records = tuple(record for record in result.records if _belongs(record, grid))
            if result.detects or not records:
                continue
            if len(records) < len(result.records):  # the others are of seeds outside of the grid
                result = replace(result, records=records)
            settings = defense_settings(result)
            del settings["model"]
            defense = json.dumps([settings, source], sort_keys=True)
            groups.setdefault(defense, {})[victim] = result
    wanted = len(slots(grid.preset))
    return [GridResults(results, wanted) for _, results in sorted(groups.items())]


def _belongs(record: Record, grid: "FrozenGrid") -> bool:
    """Whether a record has the settings and images of a cell of the grid, and not only its name."""
    from benchmark.leaderboard.attack_slots import belongs

    return record.protocol == grid.name and belongs(record, grid)


def _table(protocol: str, defenses: Sequence[GridResults],
           attacks: "EnteredAttacks | None" = None) -> Table:
    """The leaderboard of a grid. attacks: those that were entered, which lower the defenses."""
    names = _names(defenses)
    complete = [defense for defense in defenses if defense.complete]
    complete.sort(key=lambda defense: (-_lowest_ra(defense, attacks), names[defense]))
    undefended = {defense.source: defense for defense in complete
                  if defense.first.defense == "none"}
    differences, legend = _differences(complete, undefended)
    ranks = itertools.count(1)
    rows = []
    for defense in complete:
        if defense.is_control:
            rank = unranked("control")
        elif defense.source in undefended:
            rank = ranked(next(ranks))
        else:
            rank = unranked(UNRANKED)
        row = {"rank": rank, "defense": names[defense]}
        row |= _numbers(defense, undefended.get(defense.source), attacks)
        rows.append(row | differences[defense])
    for defense in defenses:
        if not defense.complete:
            rows.append({"rank": unranked("incomplete"), "defense": names[defense],
                         "cells": share_of(defense.present, defense.wanted)})
    frame = as_frame(rows).fillna(NONE)
    has_entries = any(entry_of(defense.first.records[0]) for defense in defenses)
    if not has_entries:
        frame = frame.drop(columns=["entry", "tier"])
    notes = [*LEGEND, *([attacks.legend] if attacks else []),
             *few_seeds(len(defense.first.seeds) for defense in complete)]
    named_results = [(f"{names[defense]} {_victim(result)}", result)
                     for defense in defenses for result in defense.results.values()]
    notes += [f"{names[defense]} has no rank: {defense.lacks}."
              for defense in defenses if defense.lacks]
    if any(row["rank"] == unranked(UNRANKED) for row in rows):
        notes.append(f"A defense is {UNRANKED} where cells of no defense on the same victims are not "
                     "among the records, so that nothing tells what it repaired.")
    details = [*([TIERS] if has_entries else []), *DETAILS, legend,
               *unchanged_notes(named_results)]
    return Table(f"leaderboard-{protocol}", f"Leaderboard of {protocol}", frame, notes,
                 brief=BRIEF, details=details,
                 caption=f"Defenses on {protocol}, ranked by RA, the share of triggered images "
                         "that are counted to within 10% of the truth, with 95% intervals over "
                         "seeds and images.")


def _lowest_ra(defense: GridResults, attacks: "EnteredAttacks | None") -> float:
    """The lower of the RA over the attacks of the grid and that after the strongest attack."""
    strongest = attacks and attacks.strongest(defense.choice)
    ra, _, _ = defense.mean("ra")
    return min(ra, strongest[1]) if strongest else ra


def _victim(result: Result) -> str:
    """The model and the attack of a result."""
    settings = result.settings
    attack = f"{settings['trigger']}/{settings['target']}" if "trigger" in settings else "clean"
    return f"{settings['model']} {attack}"


def _names(defenses: Sequence[GridResults]) -> dict[GridResults, str]:
    """The printed names: those of controls tell whose victims they are of, if that is not clear."""
    settings = []
    for defense in defenses:
        source = {"victims": defense.source} if defense.is_control else {}
        settings.append(defense_settings(defense.first) | source)
    labels = suffixes(settings, shown=("model", "defense"))
    return {defense: defense.first.defense + label for defense, label in zip(defenses, labels)}


def _differences(complete: Sequence[GridResults], undefended: Mapping[str, GridResults]
                 ) -> tuple[dict[GridResults, dict[str, str]], str]:
    """The columns with differences in RA from no defense and from the best, and their legend.

    complete: in the order of the ranking. undefended: no defense, by the source of the victims.
    """
    best = next(defense for defense in complete if not defense.is_control)
    rows, pairs = [], []
    for defense in complete:
        for heading, other in (("none", undefended.get(defense.source)), ("best", best)):
            if other is not None and other is not defense:
                rows.append((defense, heading))
                pairs.append(Paired(defense.successes("ra"), other.successes("ra")))
    headings = [text for other in ("none", "best")
                for text in (f"RA - {other}", f"p {other}, seeds", f"p {other}, images")]
    columns = {defense: dict.fromkeys(headings, NONE) for defense in complete}
    for (defense, heading), inference in zip(rows, infer([pairs])[0]):
        cells = level_cells(inference)
        columns[defense] |= {f"RA - {heading}": cells["difference"],
                             f"p {heading}, seeds": cells["p, seeds"],
                             f"p {heading}, images": cells["p, images"]}
    return columns, (
        "RA - none and RA - best are the differences from no defense on the same victims, and from "
        "the defense of rank 1, as means over the victims, each with two p values. "
        f"{level_legend(len(pairs))} Where none is shown, the order of two defenses may be chance.")


def _numbers(defense: GridResults, undefended: GridResults | None,
             attacks: "EnteredAttacks | None") -> dict[str, str]:
    """The columns with the entry and the numbers of one defense."""
    results = list(defense.results.values())
    entry = entry_of(defense.first.records[0])
    columns = {"entry": entry.get("name", NONE), "tier": entry.get("tier", RECOMPUTED),
               "knows": images_used(results)}
    for heading, key in MEANS.items():
        digits = 2 if key in ("mae", "rmse") else 3
        columns[heading] = with_interval(*defense.mean(key), digits)
        if heading == "RA" and attacks:
            columns |= attacks.columns(defense.choice)
    clean = [result.numbers["rho_acc"] for result in results if not result.records[0].attack]
    columns["clean rho_Acc"] = number(float(np.mean(clean))) if clean else NONE
    columns["chance flips"] = number(counting.mean_of_existing(
        map(chance_flips, defense.attacked.values())))
    return columns | {"DER": _der(defense, undefended), "seconds": repair_seconds(results),
                      "cells": share_of(defense.present, defense.wanted)}


def _der(defense: GridResults, undefended: GridResults | None) -> str:
    """The mean DER over the attacks, with its interval."""
    if undefended is None or undefended is defense:
        return NONE
    values, replicates = [], []
    for victim, after in defense.attacked.items():
        before = undefended.attacked[victim]
        if not math.isnan(before.numbers["easr"] + after.numbers["easr"]):
            values.append(_der_between(before.numbers, after.numbers))
            replicates.append(_der_between(before.replicates, after.replicates))
    if not values:
        return NONE
    return with_interval(float(np.mean(values)), *interval(np.mean(replicates, axis=0)))


def _der_between(before: Mapping[str, ArrayLike], after: Mapping[str, ArrayLike]) -> np.ndarray:
    return counting.der(before["easr"], after["easr"], before["rho_acc"], after["rho_acc"])
