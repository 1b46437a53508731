"""Records -> the leaderboard, the paper's tables and the table of controls, as Markdown, CSV, LaTeX and JSON."""

import json
import os
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from benchmark.leaderboard.ranking import ranking_tables
from benchmark.paper.tables import table1, table2, table3
from benchmark.results.record import Record
from benchmark.results.scenarios import Scenario, scenarios, settings_of, without_defense
from benchmark.tables.all_results import results_table
from benchmark.tables.comparison import difference_table
from benchmark.tables.controls import CONTROLS, control_numbers, control_table
from benchmark.tables.defenses import defense_table
from benchmark.tables.detection import detection_table
from benchmark.tables.formats import Table, as_json, csv, latex, markdown
from benchmark.utils.errors import UserError

FORMATS = {"md": markdown, "csv": csv, "tex": latex, "json": as_json}


@dataclass(frozen=True)
class Board:
    """What is told of some records; all of it is made once."""

    scenarios: list[Scenario]

    @cached_property
    def rankings(self) -> list[Table]:
        """The leaderboard of each frozen grid that was run."""
        return ranking_tables(self.scenarios)

    @cached_property
    def tables(self) -> list[Table]:
        """See `tables`."""
        found = self.scenarios
        built = self.rankings + [build(found) for build in (table1, table2, table3, control_table)]
        detects = any(result.records[0].detection for scenario in found for result in scenario.results)
        built += [detection_table(found)] if detects else []
        repaired = {result.defense for scenario in found for result in scenario.results if not result.detects}
        built += [defense_table(found)] if len(repaired - {"none", *CONTROLS}) > 1 else []
        return built

    @property
    def controls(self) -> pd.DataFrame:
        """The table of controls as data: a row per model, attack and defense, a column per number, nan where there is
        none."""
        return pd.DataFrame(control_numbers(self.scenarios))

    def text(self) -> str:
        """All tables as Markdown."""
        return "\n".join(map(markdown, self.tables))

    def write(self, folder: str | Path) -> list[Path]:
        """See `write`."""
        texts = {Path(folder) / "tables" / f"{table.name}.{suffix}": text(table)
                 for table in [*self.tables, results_table(self.scenarios)] for suffix, text in FORMATS.items()}
        for path, text in texts.items():
            _replace(path, text)
        return list(texts)


def board(records: Iterable[Record]) -> Board:
    """Records, grouped for tables. Raises as `tables` does."""
    return Board(scenarios(records))


def tables(records: Iterable[Record]) -> list[Table]:
    """The leaderboard of each frozen grid that was run, the paper's Tables 1, 2 and 3, the table of controls, and where
    there are any, of detectors and of all defenses.

    Each number is a mean over the seeds of one cell; cells that differ in any setting have rows of their own.

    Raises:
        UserError: the records contradict each other; see `cells.scenarios`.
    """
    return board(records).tables


def show(records: Iterable[Record]) -> str:
    """All tables as Markdown. Raises as `tables` does."""
    return board(records).text()


def controls(records: Iterable[Record]) -> pd.DataFrame:
    """The table of controls as data, see `Board.controls`. Raises as `tables` does."""
    return board(records).controls


def write(records: Iterable[Record], folder: str | Path) -> list[Path]:
    """Write folder/tables/NAME.{md,csv,tex,json} of each table, and of one of all cells, each file whole or not at all.

    The same records give the same bytes, whatever their order. Returns the paths.

    Raises:
        UserError: as `tables` does, or a file cannot be written.
    """
    return board(records).write(folder)


def compare(records: Iterable[Record], defense: str) -> Table:
    """One defense beside every other: differences and their significance.

    Raises:
        UserError: as `tables` does, or no record with that defense.
    """
    return difference_table(scenarios(records), defense)


def related_records(records: Sequence[Record], others: Iterable[Record]) -> list[Record]:
    """The other records of the same victims, or of the same clean counters, as these, whatever their defense.

    Those of the same cell, also with another version of its defense, are left out: these take their place.
    """
    def victim(record: Record) -> str:
        return json.dumps(without_defense(settings_of(record)), sort_keys=True)

    def result(record: Record) -> tuple[str, str, str, int]:
        defense = record.defense
        return victim(record), defense.name, json.dumps(defense.resolved, sort_keys=True), record.seed

    victims, replaced = {victim(record) for record in records}, {result(record) for record in records}
    return [other for other in others if victim(other) in victims and result(other) not in replaced]


def _replace(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".") as related_records:
            draft = Path(related_records) / path.name
            draft.write_text(text, encoding="utf-8", newline="\n")
            os.replace(draft, path)
    except OSError as error:
        raise UserError(f"tables: cannot write {path}: {error.strerror}") from None
