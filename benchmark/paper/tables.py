"""The paper's Tables 1, 2 and 3, measured, and beside each number what the paper printed."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from benchmark.metrics import counting
from benchmark.paper import reference
from benchmark.results.result import Result, Settings
from benchmark.results.scenarios import Scenario, suffixes
from benchmark.tables.footnotes import remarks, shared
from benchmark.tables.formats import MISSING, NONE, Table, number

DAGGER = "\N{DAGGER}"
CHANCE = ("rho_Asr counts chance successes too: read it beside ASR0, the flip rate and the attainment in the table of "
          "controls.")


@dataclass(frozen=True)
class Column:
    """metric: of `metrics.summary`. printed: the paper's column. finetuned: of the second of a row's two cells."""

    heading: str
    metric: str
    printed: str
    finetuned: bool = False


@dataclass(frozen=True)
class Row:
    """cells: the undefended one and the fine-tuned one, or one of them; None where it was not run."""

    model: str
    strategy: str
    results: tuple[Result | None, ...]
    settings: Settings
    finetuned: bool = False  # a row of its own for the fine-tuned model

    @property
    def label(self) -> str:
        return f"{self.strategy} ft" if self.finetuned else self.strategy


ACC, ASR = Column("rho_Acc", "rho_acc", "rho_acc"), Column("rho_Asr", "rho_asr", "rho_asr")
BANDS = [Column(f"rho_Asr {band}", f"band {band}", printed) for band, printed in
         zip(counting.BANDS, ("rho_asr_0.1_0.3", "rho_asr_0.3_0.5", "rho_asr_0.5_1", "rho_asr_gt_1"))]


def table1(scenarios: Sequence[Scenario]) -> Table:
    """Attacks: rho_Acc and rho_Asr of the clean counters and the victims."""
    rows = [Row(model, strategy, (result,), _settings(scenario, result))
            for model, strategy, scenario in _grid(scenarios) for result in _cells(scenario, "none")]
    return _table("table1", 1, "Table 1. Backdoor attacks", [ACC, ASR], rows)


def table2(scenarios: Sequence[Scenario]) -> Table:
    """Attacks and fine-tuning by the size of the error: rho_Acc, and the share of each band of |r - 1| in S."""
    rows = [Row(model, strategy, (result,), _settings(scenario, result), finetuned=defense == "fine_tune")
            for model, strategy, scenario in _grid(scenarios) if strategy != "clean"
            for defense in ("none", "fine_tune") for result in _cells(scenario, defense)]
    return _table("table2", 2, "Table 2. Attacks and fine-tuning (ft), by the size of the error", [ACC, *BANDS], rows)


def table3(scenarios: Sequence[Scenario]) -> Table:
    """Fine-tuning: rho_Acc and rho_Asr before and after."""
    rows = [Row(model, strategy, (before, after), _settings(scenario, after))
            for model, strategy, scenario in _grid(scenarios)
            for before in _cells(scenario, "none") for after in _cells(scenario, "fine_tune")]
    columns = [ACC, Column("rho_Acc ft", "rho_acc", "rho_acc_ft", True),
               ASR, Column("rho_Asr ft", "rho_asr", "rho_asr_ft", True)]
    return _table("table3", 3, "Table 3. Fine-tuning (ft)", columns, rows)


def _grid(scenarios: Sequence[Scenario]) -> Iterator[tuple[str, str, Scenario | None]]:
    """(model, strategy, scenario) in the paper's order, then what is not in the paper; None where nothing was run.

    The paper's models have rows as soon as anything was run that compares with them.
    """
    theirs = reference.MODELS.values() if reference.compares(scenario.settings for scenario in scenarios) else ()
    models = dict.fromkeys([*theirs, *sorted(scenario.model for scenario in scenarios)])
    strategies = dict.fromkeys([*reference.STRATEGIES, *sorted(scenario.strategy for scenario in scenarios)])
    for model in models:
        for strategy in strategies:
            found = [scenario for scenario in scenarios if (scenario.model, scenario.strategy) == (model, strategy)]
            yield from ((model, strategy, scenario) for scenario in found or [None])


def _cells(scenario: Scenario | None, defense: str) -> list[Result | None]:
    return scenario.defended(defense) if scenario else [None]


def _settings(scenario: Scenario | None, result: Result | None) -> Settings:
    return result.settings if result else scenario.settings if scenario else {}


def _table(name: str, printed_as: int, title: str, columns: list[Column], rows: list[Row]) -> Table:
    suffix = suffixes([row.settings for row in rows], shown=("model", "target", "defense"))
    labels = [row.label + told for row, told in zip(rows, suffix)]
    frame = pd.DataFrame({"model": [row.model for row in rows], "strategy": labels})
    printed, corrections = reference.printed(printed_as), {}
    compared = reference.compares(row.settings for row in rows if any(row.results))
    for column in columns:
        frame[column.heading] = [_measured(row, column) for row in rows]
        if compared and reference.present():
            frame[f"{column.heading} (paper)"] = [_beside(row, column, printed, corrections) for row in rows]
    names = [f"{row.model} {label}" for row, label in zip(rows, labels)]
    notes = [*shared([row.settings for row in rows]), CHANCE]
    if compared:
        notes.append(reference.SOURCE if reference.present() else reference.ABSENT)
    if corrections:
        listed = "; ".join(f"{row} {value}" for row, value in corrections.items())
        notes.append(f"{DAGGER} The bands of the paper's own Table 2 add up to another value: {listed}.")
    return Table(name, title, frame, notes + remarks(
        (f"{row_name} ft" if after else row_name, result)
        for row_name, row in zip(names, rows) for after, result in enumerate(row.results)))


def _measured(row: Row, column: Column) -> str:
    """The number; 'not run'; or '/', where there is none: no attack, or a band that a decrease cannot reach."""
    result = row.results[column.finetuned]
    if result:
        return number(result.numbers.get(column.metric, math.nan))
    impossible = ((row.strategy == "clean" and column.metric != "rho_acc")
                  or (row.strategy in reference.DECREASES and column.metric == "band >1"))
    return NONE if impossible else MISSING


def _beside(row: Row, column: Column, printed: dict[reference.Key, dict[str, str]], corrections: dict[str, str]) -> str:
    """What the paper printed, '' where it has no such row; notes a correction and marks it."""
    key = (row.model, row.strategy, row.finetuned)
    if key not in printed or not reference.comparable(row.settings):
        return ""
    value = printed[key][column.printed] or NONE
    better = reference.corrected().get((row.model, row.strategy, column.finetuned))
    if column.metric != "rho_asr" or better in (None, value):
        return value
    corrections[f"{row.model} {row.strategy}{' ft' if column.finetuned else ''}"] = better
    return value + DAGGER
