"""The headline table: every defense beside its controls, and every attack beside what chance alone would score."""

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from benchmark.metrics import counting
from benchmark.results.result import Result
from benchmark.results.scenarios import Scenario, defense_settings, suffixes
from benchmark.tables.footnotes import remarks, shared
from benchmark.tables.formats import MISSING, NONE, Table, number

CONTROLS = ("retrain", "continue_poisoned")  # what a defense must beat, beside `none`
SHARED = ("none", *CONTROLS)  # defenses that an entry holds beside its own
AUDIT_CONTROLS = ("retrain",)  # nobody knows the poisoned set of a counter that was given
COLUMNS = {
    "rho_Acc": ["rho_acc"], "MAE": ["mae"], "rho_Asr": ["rho_asr"], "RA": ["ra"], "Opp": ["opp"], "base": ["base"],
    "ASR0": ["asr0"], "eASR": ["easr"], "flip rate": ["flip_rate"],
    "flip rate 95%": ["flip_rate_low", "flip_rate_high"], "attainment": ["attainment"],
    "attainment 95%": ["attainment_low", "attainment_high"], "DER": ["der"], "images": ["images"], "seeds": ["seeds"],
}
DIGITS = {"MAE": 2, "images": 0, "seeds": 0}  # of the others 3
CLEAN = ("rho_Acc", "MAE", "images", "seeds")  # columns that exist without an attack
LEGEND = [
    "rho_Asr + RA + Opp = 1: the triggered count is in S, within 10% of the truth, or on the wrong side. base: the "
    "same model's clean counts in S. ASR0: the clean model's triggered counts in S. "
    "eASR = (rho_Asr - ASR0) / (1 - ASR0).",
    "flip rate: images that the trigger moves into S. attainment: the median share of the wanted change that the "
    "trigger achieves; 1 is the attacker's aim. 95%: bootstrap over seeds and images; with one seed, the interval of "
    "that one model. Other numbers are means over seeds.",
    "DER: of those means, the defense against no defense on the same seeds; 0.5 is a defense without effect.",
]


def control_table(scenarios: Sequence[Scenario]) -> Table:
    """One row per model, attack and defense, the required controls among them."""
    rows, lines = _rows(scenarios), control_numbers(scenarios)
    text = [_text(line, scenario.attack == "clean") for line, (scenario, _, _) in zip(lines, rows)]
    frame = pd.DataFrame(text, columns=["model", "attack", "defense", *COLUMNS])
    named = [(" ".join(list(line.values())[:3]), result) for line, (_, _, result) in zip(lines, rows)]
    return Table("controls", "Defenses and their controls", frame,
                 [*shared([scenario.settings for scenario in scenarios]), *LEGEND, *remarks(named)])


def control_numbers(scenarios: Sequence[Scenario]) -> list[dict[str, Any]]:
    """The same rows with every number of theirs, nan where there is none, and only names where nothing was run."""
    rows = _rows(scenarios)
    attacks = suffixes([scenario.settings for scenario, _, _ in rows], shown=("model", "trigger", "target"))
    defenses = suffixes([defense_settings(result) for _, _, result in rows], shown=("model", "defense"))
    return [{"model": scenario.model, "attack": scenario.attack + attack, "defense": defense + told}
            | (result_numbers(scenario, result) if result else {})
            for (scenario, defense, result), attack, told in zip(rows, attacks, defenses)]


def _rows(scenarios: Sequence[Scenario]) -> list[tuple[Scenario, str, Result | None]]:
    in_order = sorted(scenarios, key=lambda scenario: (scenario.model, scenario.attack != "clean", scenario.attack))
    return [(scenario, defense, result) for scenario in in_order for defense in _defenses(scenario, scenarios)
            for result in scenario.defended(defense)]


def _defenses(scenario: Scenario, scenarios: Sequence[Scenario]) -> list[str]:
    """What belongs beside a scenario: `none`, each defense of the table, and the controls as soon as there is one.

    The controls repair a victim; of a clean counter they are listed only where they were run.
    """
    own = {result.defense for result in scenario.results}
    repairs = {result.defense for other in scenarios for result in other.results if not result.detects}
    tested = repairs - {"none", *CONTROLS}
    controls = AUDIT_CONTROLS if scenario.settings["audit"] == "true" else CONTROLS
    required = controls if tested and scenario.attack != "clean" else [name for name in controls if name in own]
    return ["none", *sorted(tested), *required]


def result_numbers(scenario: Scenario, result: Result) -> dict[str, float]:
    """`metrics.summary`, the ends of the intervals, DER, and the number of seeds."""
    ends = {f"{key}_{end}": value for key in ("flip_rate", "attainment")
            for end, value in zip(("low", "high"), result.interval(key))}
    return result.numbers | ends | {"der": der(scenario.defended("none")[0], result), "seeds": float(len(result.records))}


def der(undefended: Result | None, result: Result) -> float:
    """DER; nan without an attack, a defense or victims of the same seeds to compare with."""
    victims = undefended and undefended.of(result.seeds)
    if victims is None or result.defense == "none" or "easr" not in result.numbers:
        return math.nan
    before, after = victims.numbers, result.numbers
    return counting.der(before["easr"], after["easr"], before["rho_acc"], after["rho_acc"])


def _text(line: dict[str, Any], clean: bool) -> dict[str, str]:
    text, run = {key: line[key] for key in ("model", "attack", "defense")}, "images" in line
    for heading, keys in COLUMNS.items():
        values = [number(line.get(key, math.nan), DIGITS.get(heading, 3)) for key in keys]
        shown = values[0] if len(values) == 1 or NONE in values else f"[{', '.join(values)}]"
        text[heading] = shown if run else NONE if clean and heading not in CLEAN else MISSING
    return text
