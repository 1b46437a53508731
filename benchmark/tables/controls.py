"""Table of controls: every defense with its controls, and every attack with its chance level."""

import math
from collections.abc import Sequence
from typing import Any

from benchmark.metrics import counting
from benchmark.results.controls import CONTROLS, SHARED
from benchmark.results.result import Result
from benchmark.results.scenarios import Scenario, row_suffixes
from benchmark.tables.footnotes import common_settings, row_notes
from benchmark.tables.formats import MISSING, NONE, Table, as_frame, interval, number

COLUMNS = {
    "rho_Acc": ["rho_acc"], "MAE": ["mae"], "rho_Asr": ["rho_asr"], "RA": ["ra"], "Opp": ["opp"],
    "base": ["base"], "ASR0": ["asr0"], "eASR": ["easr"], "flip rate": ["flip_rate"],
    "flip rate 95%": ["flip_rate_low", "flip_rate_high"], "chance flips": ["chance_flips"],
    "attainment": ["attainment"],
    "attainment 95%": ["attainment_low", "attainment_high"], "DER": ["der"], "images": ["images"],
    "seeds": ["seeds"],
}
DIGITS = {"MAE": 2, "images": 0, "seeds": 0}  # all others have 3
CLEAN = ("rho_Acc", "MAE", "images", "seeds")  # columns that exist without an attack
BRIEF = ("attack", "defense", "rho_Acc", "MAE", "rho_Asr", "ASR0", "flip rate", "flip rate 95%",
         "chance flips", "attainment", "DER", "seeds")
CAPTION = ("Attacks and defenses with their controls. A defense is worth something if it has fewer "
           "flips than no defense (none), and no lower rho_Acc than retraining on the same images "
           "(retrain).")
LEGEND = [
    "S is the set of counts at which the attack succeeds: more than 10% above the truth if the "
    "attack increases the count, more than 10% below it if it decreases the count.",
    "rho_Acc is the share of clean images that are counted to within 10% of the truth. MAE is "
    "the mean absolute error on clean images, in people.",
    "rho_Asr, RA and Opp are the shares of triggered images whose count is in S, within 10% of "
    "the truth, and more than 10% off on the other side; they add up to 1. base is the share of "
    "clean images whose count by the same model is in S. ASR0 is the share of triggered images "
    "whose count by a clean model is in S, the chance level. "
    "eASR = (rho_Asr - ASR0) / (1 - ASR0).",
    "The flip rate is the share of images that the trigger moves into S. The attainment is the "
    "median share of the wanted change that the trigger achieves; 1 is the attacker's aim. The "
    "columns 95% are intervals of the two, by bootstrap over seeds and images; with one seed, "
    "they hold for that one model. All other numbers are means over seeds.",
    "chance flips is the flip rate of the clean counter after the same defense, with the same "
    "trigger. Flips beyond it are the backdoor's.",
    "DER compares the means of a defense with those of no defense on the same seeds; a defense "
    "without effect has 0.5.",
    "images and seeds are numbers of test images and of seeds.",
    "The control retrain trains a new model on clean images; its extra images are of another "
    "dataset. continue_poisoned trains the victim further on the poisoned training set.",
]
Row = tuple[Scenario, str, Result | None]  # a defense by name, and its result or None if not run


def control_table(scenarios: Sequence[Scenario]) -> Table:
    """One row per model, attack and defense, including the required controls."""
    rows = control_rows(scenarios)
    lines = control_numbers(scenarios)
    cells, named_results = [], []
    for line, (scenario, _, result) in zip(lines, rows):
        cells.append(_text(line, is_clean=scenario.attack == "clean"))
        named_results.append((f"{line['model']} {line['attack']} {line['defense']}", result))
    frame = as_frame(cells, columns=["model", "attack", "defense", *COLUMNS])
    settings = [scenario.settings for scenario in scenarios]
    return Table("controls", "Defenses and their controls", frame,
                 [*common_settings(settings), *LEGEND, *row_notes(named_results)],
                 caption=CAPTION, brief=BRIEF)


def control_numbers(scenarios: Sequence[Scenario]) -> list[dict[str, Any]]:
    """The rows of `control_table` with all their numbers, nan for a number that does not exist.

    A row of a defense that was not run has only names.
    """
    rows = control_rows(scenarios)
    suffixes = row_suffixes([(scenario, result) for scenario, _, result in rows])
    lines = []
    for (scenario, defense, result), (attack_suffix, defense_suffix) in zip(rows, suffixes):
        line: dict[str, Any] = {"model": scenario.model, "attack": scenario.attack + attack_suffix,
                                "defense": defense + defense_suffix}
        lines.append(line | (result_numbers(scenario, result) if result else {}))
    return lines


def control_rows(scenarios: Sequence[Scenario]) -> list[Row]:
    """The rows of `control_table`: of each victim `none`, the repairs, and the controls."""
    in_order = sorted(scenarios, key=lambda scenario: (
        scenario.model, scenario.attack != "clean", scenario.attack))
    rows: list[Row] = []
    for scenario in in_order:
        for defense in _defenses(scenario, scenarios):
            rows += [(scenario, defense, result) for result in scenario.defended(defense)]
    return rows


def _defenses(scenario: Scenario, scenarios: Sequence[Scenario]) -> list[str]:
    """The defenses that a scenario has rows of: `none`, all repairs in the table, and the controls.

    The controls are required for every victim as soon as a repair is in the table. For a clean
    counter they are not: it has rows only of those that were run on it. A counter that was audited
    has rows only of what was run.
    """
    own = {result.defense for result in scenario.results}
    if scenario.settings["audit"] == "true":
        repaired = {result.defense for result in scenario.results if not result.detects}
        order = ["none", *sorted(repaired - {*SHARED}), *CONTROLS]
        return [name for name in order if name in repaired]
    repairs = {result.defense for other in scenarios for result in other.results
               if not result.detects}
    tested = repairs - {"none", *CONTROLS}
    are_required = bool(tested) and scenario.attack != "clean"
    return ["none", *sorted(tested), *(name for name in CONTROLS if are_required or name in own)]


def result_numbers(scenario: Scenario, result: Result) -> dict[str, float]:
    """The result's own numbers, the ends of two intervals, DER, and the number of seeds."""
    numbers = dict(result.numbers)
    for key in ("flip_rate", "attainment"):
        numbers[f"{key}_low"], numbers[f"{key}_high"] = result.interval(key)
    undefended = scenario.defended("none")[0]
    return numbers | {"der": der(undefended, result), "seeds": float(len(result.records)),
                      "chance_flips": chance_flips(result)}


def chance_flips(result: Result) -> float:
    """The flip rate of the clean counter after the same defense; nan where it was not counted.

    Without a repair it is that of the clean counter itself.
    """
    repairs = result.defense != "none" and not result.detects
    return result.numbers.get("control_flip_rate" if repairs else "reference_flip_rate", math.nan)


def der(undefended: Result | None, result: Result) -> float:
    """DER; nan without an attack, without a defense, or without undefended victims of all seeds."""
    victims = undefended and undefended.of(result.seeds)
    if victims is None or result.defense == "none" or "easr" not in result.numbers:
        return math.nan
    before, after = victims.numbers, result.numbers
    return counting.der(before["easr"], after["easr"], before["rho_acc"], after["rho_acc"])


def _text(line: dict[str, Any], is_clean: bool) -> dict[str, str]:
    """A row as text. is_clean: whether it is of a clean counter, which has fewer numbers."""
    text = {key: line[key] for key in ("model", "attack", "defense")}
    was_run = "images" in line
    for heading, keys in COLUMNS.items():
        if was_run:
            values = [line.get(key, math.nan) for key in keys]
            print_values = interval if len(keys) > 1 else number
            text[heading] = print_values(*values, DIGITS.get(heading, 3))
        else:
            text[heading] = NONE if is_clean and heading not in CLEAN else MISSING
    return text
