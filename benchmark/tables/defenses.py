"""All defenses on one page: what each knows and costs, and what is left of every attack, a row per defense."""

import json
import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from benchmark.metrics.significance import holm, mcnemar
from benchmark.results.result import Result
from benchmark.results.scenarios import Scenario, defense_settings, suffixes
from benchmark.tables.controls import CONTROLS, der
from benchmark.tables.footnotes import remarks, shared
from benchmark.tables.formats import MISSING, NONE, Table, number

LEVEL = 0.05
LEGEND = [
    "knows: clean training images + clean validation images that it was handed or chose on; E extra images of another "
    "data set, P the poisoned training set. seconds: of the repair, mean over the attacks, on the records' machines.",
    "Columns of an attack: flip rate, images that the trigger moves into success, and rho_Acc, clean images counted to "
    "within 10%; of `clean`, a clean counter with the defense applied, rho_Acc alone. DER: of the means "
    "over seeds, the mean over the attacks.",
    "*: flip rate lower than without a defense. !: rho_Acc lower than without a defense. Same seeds, exact McNemar "
    f"test, Holm's correction over all tests of the table, p < {LEVEL}. No mark: no such difference was shown. A "
    "counter that counts nothing right flips nothing: read a low flip rate beside rho_Acc.",
]
Row = dict[str, Result]  # a defense's cells by the name of the attack


def defense_table(scenarios: Sequence[Scenario]) -> Table:
    """One row per model and defense, two columns per attack; detectors repair nothing and are left out."""
    rows, columns = _rows(scenarios)
    firsts = [next(iter(row.values())) for row in rows]
    told = suffixes([defense_settings(first) for first in firsts], shown=("model", "defense")) if rows else []
    undefended = {(first.settings["model"], name): result for first, row in zip(firsts, rows)
                  for name, result in row.items() if result.defense == "none"}
    marks = _marks(rows, undefended)
    names = [first.defense + suffix for first, suffix in zip(firsts, told)]
    lines = [{"model": first.settings["model"], "defense": name} | _line(row, columns, undefended, marks)
             for row, first, name in zip(rows, firsts, names)]
    named = [(f"{name} {attack}", result) for row, name in zip(rows, names) for attack, result in row.items()]
    return Table("defenses", "Defenses", pd.DataFrame(lines), [
        *shared([scenario.settings for scenario in scenarios]), *LEGEND, *remarks(named)])


def _rows(scenarios: Sequence[Scenario]) -> tuple[list[Row], dict[str, bool]]:
    """The cells of each defense by attack, in the order of the table, and the attacks, clean counters first: whether
    each is one."""
    groups: dict[str, Row] = {}
    attacks = suffixes([scenario.settings for scenario in scenarios], shown=("model", "trigger", "target"))
    names = [scenario.attack + told for scenario, told in zip(scenarios, attacks)]
    for scenario, name in zip(scenarios, names):
        for result in scenario.results:
            if not result.detects:
                groups.setdefault(json.dumps(defense_settings(result), sort_keys=True), {})[name] = result
    columns = {name: scenario.attack != "clean" for scenario, name in zip(scenarios, names)}
    return sorted(groups.values(), key=_place), dict(sorted(columns.items(), key=lambda item: item[::-1]))


def _place(row: dict[str, Result]) -> tuple[str, int, str]:
    """`none` first, then defenses by name, and the controls at the end."""
    result = next(iter(row.values()))
    last = CONTROLS.index(result.defense) + 2 if result.defense in CONTROLS else int(result.defense != "none")
    return result.settings["model"], last, json.dumps(defense_settings(result), sort_keys=True)


def _line(row: Row, columns: dict[str, bool], undefended: dict[tuple[str, str], Result],
          marks: dict[tuple[int, str], str]) -> dict[str, str]:
    """What one defense made of all attacks."""
    results = list(row.values())
    ders = [der(undefended.get((result.settings["model"], name)), result) for name, result in row.items()]
    line = {"knows": known(results), "seconds": cost(results), "DER": number(_mean(ders))}
    for name, attacked in columns.items():
        result = row.get(name)
        for key, heading in (("flip_rate", "flip"), ("rho_acc", "rho_Acc")):
            if attacked or key == "rho_acc":
                line[f"{name} {heading}"] = (number(result.numbers[key]) + marks.get((id(result), key), "") if result
                                             else MISSING)
    return line


def _marks(rows: list[Row], undefended: dict[tuple[str, str], Result]) -> dict[tuple[int, str], str]:
    """The marks of cells, by the cell and the number."""
    tests: list[tuple[int, str, str, float]] = []
    for result, name in ((result, name) for row in rows for name, result in row.items()):
        before = undefended.get((result.settings["model"], name), result)
        if before is result or before.seeds != result.seeds:
            continue
        for key, mark in (("flip_rate", "*"), ("rho_acc", "!")):
            own, other = result.successes(key), before.successes(key)
            if own.size:
                tests.append((id(result), key, mark if own.mean() < other.mean() else "", mcnemar(own, other)))
    adjusted = holm([p for *_, p in tests]) if tests else []
    return {(result, key): mark for (result, key, mark, _), p in zip(tests, adjusted) if p < LEVEL}


def known(results: list[Result]) -> str:
    """'40+24 E40 P': as many as in any of the cells."""
    used = [record.knowledge for result in results for record in result.records]
    most = {sort: max((int(one.get(sort, 0)) for one in used), default=0)
            for sort in ("clean", "validation", "extra", "poisoned")}
    told = [f"{most['clean']}+{most['validation']}"] if most["clean"] or most["validation"] else []
    told += [f"E{most['extra']}"] * bool(most["extra"]) + ["P"] * bool(most["poisoned"])
    return " ".join(told) or NONE


def cost(results: list[Result]) -> str:
    """Seconds of a repair, the mean over the attacks, or without any over clean counters, as printed."""
    attacked = [result for result in results if result.records[0].attack] or results
    return NONE if results[0].defense == "none" else number(float(np.mean([_seconds(result) for result in attacked])), 1)


def _seconds(result: Result) -> float:
    stages = [record.provenance.get("stages", {}).get("repaired", {}) for record in result.records]
    seconds = [stage.get("seconds") for stage in stages]
    return float(np.mean([np.nan if value is None else value for value in seconds]))


def _mean(values: list[float]) -> float:
    """The mean of the numbers that exist; nan without any."""
    there = [value for value in values if value == value]
    return float(np.mean(there)) if there else math.nan
