"""The paper's Tables 1, 2 and 3: measured numbers, each next to the one that the paper printed."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from benchmark.metrics import counting
from benchmark.paper import reference
from benchmark.results.result import Result, Settings
from benchmark.results.scenarios import Scenario, suffixes
from benchmark.tables.footnotes import common_settings, row_notes
from benchmark.tables.formats import MISSING, NONE, Cell, Table, number

DAGGER = "\N{DAGGER}"
CHANCE = ("rho_Asr includes successes by chance: compare it with ASR0, the flip rate and the "
          "attainment in the table of controls.")


@dataclass(frozen=True)
class Column:
    """A number of a row.

    metric: its key in `metrics.summary`. printed: the paper's column. finetuned: whether it belongs
    to the second of a row's two results.
    """

    heading: str
    metric: str
    printed: str
    finetuned: bool = False


@dataclass(frozen=True)
class TableRow:
    """A model and a strategy.

    results: of the undefended counter, of the fine-tuned one, or of both in this order; None where
    it was not run. finetuned: whether the row is the fine-tuned model's own.
    """

    model: str
    strategy: str
    results: tuple[Result | None, ...]
    settings: Settings
    finetuned: bool = False

    @property
    def label(self) -> str:
        return f"{self.strategy} ft" if self.finetuned else self.strategy


ACC = Column("rho_Acc", "rho_acc", "rho_acc")
ASR = Column("rho_Asr", "rho_asr", "rho_asr")
_PRINTED_BANDS = ("rho_asr_0.1_0.3", "rho_asr_0.3_0.5", "rho_asr_0.5_1", "rho_asr_gt_1")
BANDS = [Column(f"rho_Asr {band}", f"band {band}", printed)
         for band, printed in zip(counting.BANDS, _PRINTED_BANDS)]


def paper_tables(scenarios: Sequence[Scenario], only_run: bool = False) -> list[Table]:
    """The paper's Tables 1 to 3. only_run: whether rows of what was not run are left out."""
    return [build(scenarios, only_run) for build in (_table1, _table2, _table3)]


def _table1(scenarios: Sequence[Scenario], only_run: bool) -> Table:
    """Attacks: rho_Acc and rho_Asr of the clean counters and the victims."""
    rows = [TableRow(model, strategy, (result,), _settings(scenario, result))
            for model, strategy, scenario in _grid(scenarios)
            for result in _results(scenario, "none")]
    return _table("table1", 1, "Table 1. Backdoor attacks", [ACC, ASR], rows, only_run)


def _table2(scenarios: Sequence[Scenario], only_run: bool) -> Table:
    """Attacks and fine-tuning by the size of the error: rho_Acc and the shares of the bands.

    A band is a range of |r - 1| among the images on which the attack succeeds.
    """
    rows = []
    for model, strategy, scenario in _grid(scenarios):
        if strategy == "clean":
            continue
        for defense in ("none", "fine_tune"):
            rows += [TableRow(model, strategy, (result,), _settings(scenario, result),
                              finetuned=defense == "fine_tune")
                     for result in _results(scenario, defense)]
    title = "Table 2. Attacks and fine-tuning (ft), by the size of the error"
    return _table("table2", 2, title, [ACC, *BANDS], rows, only_run)


def _table3(scenarios: Sequence[Scenario], only_run: bool) -> Table:
    """Fine-tuning: rho_Acc and rho_Asr before and after."""
    rows = []
    for model, strategy, scenario in _grid(scenarios):
        rows += [TableRow(model, strategy, (before, after), _settings(scenario, after))
                 for before in _results(scenario, "none")
                 for after in _results(scenario, "fine_tune")]
    columns = [ACC, Column("rho_Acc ft", "rho_acc", "rho_acc_ft", True),
               ASR, Column("rho_Asr ft", "rho_asr", "rho_asr_ft", True)]
    return _table("table3", 3, "Table 3. Fine-tuning (ft)", columns, rows, only_run)


def _grid(scenarios: Sequence[Scenario]) -> Iterator[tuple[str, str, Scenario | None]]:
    """(model, strategy, scenario) in the paper's order, then those that the paper does not have.

    The scenario is None where nothing was run. The paper's models are included as soon as anything
    that was run can be compared with the paper.
    """
    compared = reference.compares(scenario.settings for scenario in scenarios)
    papers = reference.MODELS.values() if compared else ()
    models = dict.fromkeys([*papers, *sorted(scenario.model for scenario in scenarios)])
    strategies = dict.fromkeys([*reference.STRATEGIES,
                                *sorted(scenario.strategy for scenario in scenarios)])
    for model in models:
        for strategy in strategies:
            matching = [scenario for scenario in scenarios
                        if (scenario.model, scenario.strategy) == (model, strategy)]
            for scenario in matching or [None]:
                yield model, strategy, scenario


def _results(scenario: Scenario | None, defense: str) -> list[Result | None]:
    return scenario.defended(defense) if scenario else [None]


def _settings(scenario: Scenario | None, result: Result | None) -> Settings:
    if result:
        return result.settings
    return scenario.settings if scenario else {}


def _table(name: str, paper_table: int, title: str, columns: list[Column],
           rows: list[TableRow], only_run: bool) -> Table:
    """A table of the paper: measured columns, and printed ones if the settings are the paper's.

    only_run: whether rows that lack a result are left out.
    """
    if only_run:
        rows = [row for row in rows if all(row.results)]
    suffix = suffixes([row.settings for row in rows], shown=("model", "target", "defense"))
    labels = [row.label + ending for row, ending in zip(rows, suffix)]
    cells: dict[str, list[str]] = {"model": [row.model for row in rows], "strategy": labels}
    printed = reference.printed(paper_table)
    corrections: dict[str, str] = {}
    compared = reference.compares(row.settings for row in rows if any(row.results))
    for column in columns:
        cells[column.heading] = [_measured(row, column) for row in rows]
        if compared and reference.present():
            cells[f"{column.heading} (paper)"] = [
                _printed(row, column, printed, corrections) for row in rows]
    notes = [*common_settings([row.settings for row in rows]), CHANCE]
    if compared:
        notes.append(reference.SOURCE if reference.present() else reference.ABSENT)
    if corrections:
        values = "; ".join(f"{row} {value}" for row, value in corrections.items())
        notes.append(f"{DAGGER} The bands of the paper's own Table 2 add up to another value: "
                     f"{values}.")
    frame = pd.DataFrame(cells, dtype=object)
    return Table(name, title, frame, notes + row_notes(_named_results(rows, labels)),
                 caption=f"{title.partition('. ')[2]}: shares of images that are counted right "
                         "(rho_Acc), and that the attack moves beyond 10% of the truth (rho_Asr).")


def _named_results(rows: list[TableRow], labels: list[str]) -> Iterator[tuple[str, Result | None]]:
    for row, label in zip(rows, labels):
        name = f"{row.model} {label}"
        for place, result in enumerate(row.results):
            yield (f"{name} ft" if place else name), result


def _measured(row: TableRow, column: Column) -> str:
    """The number as text, 'not run', or '/' where none can exist.

    There is none without an attack, and none in a band that a decrease cannot reach.
    """
    result = row.results[column.finetuned]
    if result:
        return number(result.numbers.get(column.metric, math.nan))
    without_attack = row.strategy == "clean" and column.metric != "rho_acc"
    unreachable = row.strategy in reference.DECREASES and column.metric == "band >1"
    return NONE if without_attack or unreachable else MISSING


def _printed(row: TableRow, column: Column, printed: dict[reference.Key, dict[str, str]],
             corrections: dict[str, str]) -> str:
    """The number that the paper printed, '' if it has no such row.

    A number that the paper's own bands contradict gets a dagger, and is added to `corrections`.
    """
    key = (row.model, row.strategy, row.finetuned)
    if key not in printed or not reference.comparable(row.settings):
        return ""
    value = printed[key][column.printed]
    if not value:
        return NONE
    corrected = reference.corrected().get((row.model, row.strategy, column.finetuned))
    if column.metric != "rho_asr" or corrected in (None, value):
        return Cell(value, {"": float(value)})
    corrections[f"{row.model} {row.strategy}{' ft' if column.finetuned else ''}"] = corrected
    return Cell(value + DAGGER, {"": float(value), "_corrected": float(corrected)})
