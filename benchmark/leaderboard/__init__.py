"""Records -> the paper's tables and the table of controls, as Markdown, CSV and LaTeX."""

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from benchmark.errors import UserError
from benchmark.leaderboard.cells import scenarios
from benchmark.leaderboard.control_table import control_numbers, control_table
from benchmark.leaderboard.formats import Table, csv, latex, markdown
from benchmark.leaderboard.paper_tables import table1, table2, table3
from benchmark.record import Record

FORMATS = {"md": markdown, "csv": csv, "tex": latex}


def tables(records: Iterable[Record]) -> list[Table]:
    """The paper's Tables 1, 2 and 3 and the table of controls.

    Each number is a mean over the seeds of one cell; cells that differ in any setting have rows of their own.

    Raises:
        UserError: the records contradict each other; see `cells.scenarios`.
    """
    found = scenarios(records)
    return [build(found) for build in (table1, table2, table3, control_table)]


def controls(records: Iterable[Record]) -> pd.DataFrame:
    """The table of controls as data: a row per model, attack and defense, a column per number, nan where there is none.

    Raises as `tables` does.
    """
    return pd.DataFrame(control_numbers(scenarios(records)))


def show(records: Iterable[Record]) -> str:
    """All tables as Markdown. Raises as `tables` does."""
    return "\n".join(markdown(table) for table in tables(records))


def write(records: Iterable[Record], folder: str | Path) -> list[Path]:
    """Write folder/tables/{table1,table2,table3,controls}.{md,csv,tex}, each file whole or not at all.

    The same records give the same bytes, whatever their order. Returns the paths.

    Raises:
        UserError: as `tables` does, or a file cannot be written.
    """
    texts = {Path(folder) / "tables" / f"{table.name}.{suffix}": text(table)
             for table in tables(records) for suffix, text in FORMATS.items()}
    for path, text in texts.items():
        _replace(path, text)
    return list(texts)


def _replace(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".") as beside:
            draft = Path(beside) / path.name
            draft.write_text(text, encoding="utf-8", newline="\n")
            os.replace(draft, path)
    except OSError as error:
        raise UserError(f"tables: cannot write {path}: {error.strerror}") from None
