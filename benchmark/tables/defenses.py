"""Table of all defenses: the images each one uses, its time, and its results on every attack."""

import json
import math
from collections.abc import Sequence

import numpy as np

from benchmark.metrics.counting import mean_of_existing
from benchmark.metrics.paired import Paired, infer
from benchmark.metrics.significance import ENOUGH_SEEDS, LEVEL
from benchmark.results.controls import CONTROLS
from benchmark.results.result import Result
from benchmark.results.scenarios import Scenario, defense_settings, suffixes
from benchmark.tables.controls import der
from benchmark.tables.footnotes import common_settings, row_notes
from benchmark.tables.formats import MISSING, NONE, Table, as_frame, number
from benchmark.tables.two_levels import few_seeds

IMAGES_USED = (
    "knows: the number of clean training images + clean validation images that the defense was "
    "given, or on which its epoch was chosen. E is the number of extra images of another "
    "dataset, and P is the poisoned training set. seconds: the duration of the repair on the "
    "machines of the records.")
LEGEND = [
    IMAGES_USED,
    "seconds and DER are means over the attacks; DER is computed from means over seeds, and a "
    "defense without effect has 0.5. Each attack has two columns: the flip rate is the share of "
    "images that the trigger moves into success, and rho_Acc is the share of clean images that "
    "are counted to within 10% of the truth. clean is a clean counter with the defense applied, "
    "which has rho_Acc alone.",
    "(*) marks a flip rate, and (!) a rho_Acc, of these counters that is lower than without a "
    f"defense: an exact sign-flip test over images, McNemar's with one seed, has p < {LEVEL}. "
    "Without brackets, * and ! mark that the defense is shown to lower it in other counters too: "
    f"a t test over the differences of at least {ENOUGH_SEEDS} seeds also has p < {LEVEL}. "
    "Both p have Holm's correction over all tests of the table. Without a mark, no "
    "such difference was shown. A counter that counts nothing right has no flips: read a low flip "
    "rate together with rho_Acc.",
]
ByAttack = dict[str, Result]  # results of one defense by the name of the attack
Marks = dict[tuple[int, str], str]  # by the id() of a result and the number that is marked


def defense_table(scenarios: Sequence[Scenario]) -> Table:
    """One row per model and defense, two columns per attack. Detectors repair nothing: no row."""
    rows, columns = _rows(scenarios)
    undefended: dict[tuple[str, str], Result] = {}
    for row in rows:
        for attack, result in row.items():
            if result.defense == "none":
                undefended[result.settings["model"], attack] = result
    marks = _marks(rows, undefended)
    firsts = [next(iter(row.values())) for row in rows]
    labels = suffixes([defense_settings(first) for first in firsts], shown=("model", "defense"))
    lines, named_results = [], []
    for row, first, suffix in zip(rows, firsts, labels):
        name = first.defense + suffix
        line = {"model": first.settings["model"], "defense": name}
        lines.append(line | _line(row, columns, undefended, marks))
        named_results += [(f"{name} {attack}", result) for attack, result in row.items()]
    settings = [scenario.settings for scenario in scenarios]
    seeds = few_seeds(len(result.seeds) for _, result in named_results)
    return Table("defenses", "Defenses", as_frame(lines),
                 [*common_settings(settings), *LEGEND, *seeds, *row_notes(named_results)],
                 caption="Flip rate and rho_Acc of every defense on each attack. A star marks a "
                         "flip rate, and an exclamation mark a rho_Acc, that is significantly "
                         "lower than without a defense.")


def _rows(scenarios: Sequence[Scenario]) -> tuple[list[ByAttack], dict[str, bool]]:
    """The results of each defense by attack, and the columns, both in the order of the table.

    columns: names of attacks and of clean counters, which come first; True for an attack.
    """
    groups: dict[str, ByAttack] = {}
    columns: dict[str, bool] = {}
    labels = suffixes([scenario.settings for scenario in scenarios],
                      shown=("model", "trigger", "target"))
    for scenario, suffix in zip(scenarios, labels):
        name = scenario.attack + suffix
        columns[name] = scenario.attack != "clean"
        for result in scenario.results:
            if not result.detects:
                key = json.dumps(defense_settings(result), sort_keys=True)
                groups.setdefault(key, {})[name] = result
    in_order = sorted(columns.items(), key=lambda column: (column[1], column[0]))
    return sorted(groups.values(), key=_order), dict(in_order)


def _order(row: ByAttack) -> tuple[str, int, str]:
    """Sort key of a row: by model, then `none`, the defenses by name, and the controls."""
    result = next(iter(row.values()))
    if result.defense in CONTROLS:
        group = 2 + CONTROLS.index(result.defense)
    else:
        group = 0 if result.defense == "none" else 1
    settings = json.dumps(defense_settings(result), sort_keys=True)
    return result.settings["model"], group, settings


def _line(row: ByAttack, columns: dict[str, bool], undefended: dict[tuple[str, str], Result],
          marks: Marks) -> dict[str, str]:
    """The cells of one defense, but for its model and name."""
    ders = [der(undefended.get((result.settings["model"], attack)), result)
            for attack, result in row.items()]
    line = {"knows": images_used(list(row.values())), "seconds": repair_seconds(list(row.values())),
            "DER": number(mean_of_existing(ders))}
    for name, is_attack in columns.items():
        result = row.get(name)
        if is_attack:
            line[f"{name} flip rate"] = _marked(result, "flip_rate", marks)
        line[f"{name} rho_Acc"] = _marked(result, "rho_acc", marks)
    return line


def _marked(result: Result | None, key: str, marks: Marks) -> str:
    if result is None:
        return MISSING
    mark = marks.get((id(result), key), "")
    return number(result.numbers[key]).followed_by(mark, _mark=mark or None)


def _marks(rows: list[ByAttack], undefended: dict[tuple[str, str], Result]) -> Marks:
    """The marks of the numbers that are significantly lower than without a defense."""
    candidates: list[tuple[int, str, str]] = []  # a result's id(), the number, and its mark
    pairs: list[Paired] = []
    for row in rows:
        for attack, result in row.items():
            before = undefended.get((result.settings["model"], attack), result)
            before = before if before is result else before.of(result.seeds)
            if before is None or before is result:
                continue
            for key, mark in (("flip_rate", "*"), ("rho_acc", "!")):
                pair = Paired(result.successes(key), before.successes(key))
                if pair.exists:
                    candidates.append((id(result), key, mark))
                    pairs.append(pair)
    marks = {}
    for (result, key, mark), inference in zip(candidates, infer([pairs])[0]):
        if inference.shown_for_counters and inference.value < 0:
            marks[result, key] = mark if inference.shown else f"({mark})"
    return marks


def images_used(results: list[Result]) -> str:
    """The images that a defense used, the most in any of the results: '40+24 E40 P'.

    Clean training images + validation images; E: extra images; P: the poisoned training set.
    """
    used = [record.knowledge for result in results for record in result.records]
    most = {sort: max((int(knowledge.get(sort, 0)) for knowledge in used), default=0)
            for sort in ("clean", "validation", "extra", "poisoned")}
    parts = []
    if most["clean"] or most["validation"]:
        parts.append(f"{most['clean']}+{most['validation']}")
    if most["extra"]:
        parts.append(f"E{most['extra']}")
    if most["poisoned"]:
        parts.append("P")
    return " ".join(parts) or NONE


def repair_seconds(results: list[Result]) -> str:
    """The mean duration of a repair over the attacks, or over clean counters if there are none."""
    if results[0].defense == "none":
        return NONE
    attacked = [result for result in results if result.records[0].attack] or results
    return number(float(np.mean([_seconds(result) for result in attacked])), 1)


def _seconds(result: Result) -> float:
    """The mean over seeds; nan if a record lacks the duration."""
    seconds = []
    for record in result.records:
        stage = record.provenance.get("stages", {}).get("repaired", {})
        duration = stage.get("seconds")
        seconds.append(math.nan if duration is None else duration)
    return float(np.mean(seconds))
