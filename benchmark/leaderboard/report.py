"""Reports: the leaderboards, the paper's tables and all other tables of some records."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pandas as pd

from benchmark.leaderboard.attack_ranking import attack_tables
from benchmark.leaderboard.ranking import ranking_tables
from benchmark.paper.tables import paper_tables
from benchmark.results.controls import CONTROLS
from benchmark.results.record import Record
from benchmark.results.scenarios import Scenario, scenarios, settings_of, without_defense
from benchmark.tables.all_results import results_table
from benchmark.tables.attack_comparison import attack_difference_table
from benchmark.tables.audit import audit_table
from benchmark.tables.comparison import difference_table
from benchmark.tables.controls import control_numbers, control_table
from benchmark.tables.defenses import defense_table
from benchmark.tables.detection import detection_table
from benchmark.tables.data import as_json, csv, parquet
from benchmark.tables.formats import Table, markdown
from benchmark.tables.latex import latex
from benchmark.tables.strata import strata_table
from benchmark.tables.strengths import strength_table
from benchmark.tables.summary import summary_table
from benchmark.tables.verdicts import control_differences, verdict_table, win_table
from benchmark.utils.errors import UserError
from benchmark.utils.files import write_atomically
from benchmark.utils.storage_errors import describe_error

FORMATS = {"md": markdown, "csv": csv, "parquet": parquet, "tex": latex, "json": as_json}


@dataclass(frozen=True)
class Board:
    """The tables of some records.

    Each number is a mean over the seeds of one cell. Cells that differ in any setting have rows of
    their own.

    other_audits: audits of other counters, with which the table of an audit compares.
    """

    scenarios: list[Scenario]
    other_audits: list[Scenario] = field(default_factory=list)

    @cached_property
    def rankings(self) -> list[Table]:
        """The leaderboard of each frozen grid that was run in full: defenses, then attacks."""
        return [*ranking_tables(self.scenarios), *attack_tables(self.scenarios)]

    @cached_property
    def verdicts(self) -> list[Table]:
        """The table of the audits, which says whether their counters look backdoored, if any."""
        audits = [scenario for scenario in self.scenarios if _is_audit(scenario)]
        return [audit_table(audits, self.other_audits)] if audits else []

    @property
    def trained(self) -> list[Scenario]:
        """The scenarios of counters that were trained, not audited."""
        return [scenario for scenario in self.scenarios if not _is_audit(scenario)]

    @cached_property
    def tables(self) -> list[Table]:
        """The table of audits, the leaderboards, the paper's Tables 1 to 3, and that of controls.

        The paper's tables are of counters that were trained, and left out if there are only audits.
        They are followed by the table of detectors if one scored a victim, and by the table of
        defenses if at least two defenses besides none and the controls repair counters.
        """
        tables = [*self.verdicts, *self.rankings]
        if self.trained or not self.scenarios:
            tables += paper_tables(self.trained)
        tables.append(control_table(self.scenarios))
        results = [result for scenario in self.scenarios for result in scenario.results]
        detection = detection_table(self.scenarios)
        if len(detection.frame):
            tables.append(detection)
        repairing = {result.defense for result in results if not result.detects}
        if len(repairing - {"none", *CONTROLS}) > 1:
            tables.append(defense_table(self.scenarios))
        return tables

    @property
    def controls(self) -> pd.DataFrame:
        """The table of controls as numbers: a row per model, attack and defense.

        There is a column per number, with nan where a number does not exist.
        """
        return pd.DataFrame(control_numbers(self.scenarios))

    def text(self) -> str:
        """All tables as Markdown."""
        return "\n".join(map(markdown, self.tables))

    def write(self, folder: str | Path) -> list[Path]:
        """Write folder/tables/NAME.{md,csv,parquet,tex,json} for each table.

        Besides those of `tables` these are the summary, the verdicts on the defenses, and the
        tables of all results, of strata and of strengths, as far as they have rows.
        Each file is written whole or not at all. The same records give the same bytes, whatever
        their order. Returns the paths.

        Raises:
            UserError: a file cannot be written.
        """
        differences = control_differences(self.scenarios)
        only_written = [
            summary_table(self.scenarios), verdict_table(differences), win_table(differences),
            results_table(self.scenarios), strata_table(self.scenarios),
            strength_table(self.scenarios)]
        with_rows = [table for table in only_written if len(table.frame)]
        return write_tables([*self.tables, *with_rows], Path(folder) / "tables")


def write_tables(tables: Iterable[Table], folder: Path) -> list[Path]:
    """Write folder/NAME.{md,csv,parquet,tex,json} for each table, and return the paths.

    Raises:
        UserError: a file cannot be written.
    """
    paths = []
    for table in tables:
        for suffix, convert in FORMATS.items():
            path = folder / f"{table.name}.{suffix}"
            _write(path, convert(table))
            paths.append(path)
    return paths


def board(records: Iterable[Record], other_audits: Iterable[Record] = ()) -> Board:
    """The tables of records, in any order.

    other_audits: see `other_audits`.

    Raises:
        UserError: the records contradict each other; see `scenarios`.
    """
    return Board(scenarios(records), scenarios(other_audits))


def compare(records: Iterable[Record], subject: str) -> Table:
    """The differences between one defense or attack and each other one, and their significance.

    subject: a defense, or an attack as TRIGGER/TARGET.

    Raises:
        UserError: no record has the subject, there is nothing to compare it with, or the records
            contradict each other.
    """
    build = attack_difference_table if "/" in subject else difference_table
    table = build(scenarios(records), subject)
    if not len(table.frame):
        raise UserError(f"compare {subject!r}: no record of another defense that repaired the same "
                        "victims, with a seed that this one has, too; expected at least one")
    return table


def related_records(records: Sequence[Record], others: Iterable[Record]) -> list[Record]:
    """Those of the other records that have a victim, or a clean counter, in common with `records`.

    Their defense may be any. Others of the same cell are left out because `records` replace them,
    also if the version of the defense differs.
    """
    def victim(record: Record) -> str:
        return json.dumps(without_defense(settings_of(record)), sort_keys=True)

    def cell(record: Record) -> tuple[str, str, str, int]:
        settings = json.dumps(record.defense.resolved, sort_keys=True)
        return victim(record), record.defense.name, settings, record.seed

    victims = {victim(record) for record in records}
    replaced = {cell(record) for record in records}
    return [other for other in others
            if victim(other) in victims and cell(other) not in replaced]


def other_audits(records: Iterable[Record], others: Iterable[Record]) -> list[Record]:
    """Those of the other records that audit another counter, if `records` are of an audit."""
    def counter(record: Record) -> str:
        return json.dumps([record.model.name, record.model.resolved], sort_keys=True)

    audited = {counter(record) for record in records if record.audit}
    return [other for other in others
            if audited and other.audit and counter(other) not in audited]


def _is_audit(scenario: Scenario) -> bool:
    return scenario.settings["audit"] == "true"


def _write(path: Path, content: str | bytes) -> None:
    try:
        write_atomically(path, content)
    except OSError as error:
        raise UserError(f"tables: cannot write {path.name}: {describe_error(error)}") from None
