"""The headline table: every defense beside its controls, and every attack beside what chance alone would score."""

import math
from collections import defaultdict
from collections.abc import Sequence

import pandas as pd

from benchmark import metrics
from benchmark.leaderboard.cells import Cell, Scenario, Settings, suffixes
from benchmark.leaderboard.formats import MISSING, NONE, Table, number
from benchmark.leaderboard.notes import remarks, shared

CONTROLS = ("retrain", "continue_poisoned")  # what a defense must beat, beside `none`
CLEAN = ("rho_Acc", "MAE", "images x seeds")  # columns that exist without an attack
COLUMNS = ("rho_Acc", "MAE", "rho_Asr", "RA", "Opp", "base", "ASR0", "eASR", "flip rate", "flip rate 95%",
           "attainment", "attainment 95%", "DER", "images x seeds")
LEGEND = [
    "rho_Asr + RA + Opp = 1: the triggered count is in S, within 10% of the truth, or on the wrong side. base: the same "
    "model's clean counts in S. ASR0: the clean model's triggered counts in S. eASR = (rho_Asr - ASR0) / (1 - ASR0).",
    "flip rate: images that the trigger moves into S. attainment: the median share of the wanted change that the trigger "
    "achieves; 1 is the attacker's aim. 95%: bootstrap over seeds and images; other numbers are means over seeds.",
    "DER: from the undefended row; 0.5 is a defense without effect.",
]


def controls(scenarios: Sequence[Scenario]) -> Table:
    """One row per model, attack and defense, the required controls among them."""
    rows = [(scenario, defense, cell) for scenario in sorted(scenarios, key=_order)
            for defense in _defenses(scenario, scenarios) for cell in scenario.defended(defense)]
    attacks = suffixes([scenario.settings for scenario, _, _ in rows], shown=("model", "trigger", "target"))
    defenses = suffixes([_defense_settings(cell) for _, _, cell in rows], shown=("model", "defense"))
    lines = [{"model": scenario.model, "attack": scenario.attack + attack, "defense": defense + told}
             | _numbers(scenario, cell)
             for (scenario, defense, cell), attack, told in zip(rows, attacks, defenses)]
    named = [(f"{line['model']} {line['attack']} {line['defense']}", cell) for line, (_, _, cell) in zip(lines, rows)]
    frame = pd.DataFrame(lines, columns=["model", "attack", "defense", *COLUMNS])
    return Table("controls", "Defenses and their controls", frame,
                 [*shared([scenario.settings for scenario in scenarios]), *LEGEND, *remarks(named)])


def _order(scenario: Scenario) -> tuple[str, bool, str]:
    return scenario.model, scenario.attack != "clean", scenario.attack


def _defenses(scenario: Scenario, scenarios: Sequence[Scenario]) -> list[str]:
    """What belongs beside a scenario: `none`, each defense of the table, and the controls as soon as there is one.

    The controls repair a victim; of a clean counter they are listed only where they were run.
    """
    own = {cell.defense for cell in scenario.cells}
    tested = {cell.defense for other in scenarios for cell in other.cells} - {"none", *CONTROLS}
    required = CONTROLS if tested and scenario.attack != "clean" else [name for name in CONTROLS if name in own]
    return ["none", *sorted(tested), *required]


def _defense_settings(cell: Cell | None) -> Settings:
    """A defense's own settings, and the model that it repairs; nothing where it was not run."""
    return {key: value for key, value in cell.settings.items() if key.partition(".")[0] in ("model", "defense")
            } if cell else {}


def _numbers(scenario: Scenario, cell: Cell | None) -> dict[str, str]:
    clean = scenario.attack == "clean"
    if cell is None:
        return {column: NONE if clean and column not in CLEAN else MISSING for column in COLUMNS}
    numbers = defaultdict(lambda: math.nan, cell.numbers)
    return dict(zip(COLUMNS, [
        number(numbers["rho_acc"]), number(numbers["mae"], 2),
        *(number(numbers[key]) for key in ("rho_asr", "ra", "opp", "base", "asr0", "easr", "flip_rate")),
        _interval(cell.flip_interval()), number(numbers["attainment"]), _interval(cell.attainment_interval()),
        NONE if clean or cell.defense == "none" else _effectiveness(scenario.defended("none")[0], cell),
        f"{numbers['images']:.0f} x {len(cell.records)}"]))


def _effectiveness(undefended: Cell | None, cell: Cell) -> str:
    if undefended is None:
        return MISSING
    before, after = undefended.numbers, cell.numbers
    return number(metrics.der(before["easr"], after["easr"], before["rho_acc"], after["rho_acc"]))


def _interval(ends: tuple[float, float] | None) -> str:
    return f"[{number(ends[0])}, {number(ends[1])}]" if ends else NONE
