"""Tables for other programs: numbers as numbers, as a frame, CSV, JSON and Parquet.

An interval is two columns, which end in _low and _high. What does not exist or was not run is
empty in CSV and null elsewhere. Floats have six significant digits. The same table gives the same
bytes; those of Parquet also depend on the version of pyarrow.
"""

import json
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from benchmark.tables.formats import MISSING, NONE, Cell, Table, Value, one_line

ABSENT = (NONE, MISSING, "")
INTERVAL = " 95%"  # in the heading of a column that holds nothing but intervals

_NUMBER = r"[+-]?\d+(?:\.\d+)?"
_FORMULA = r"=+\-@\uff1d\uff0b\uff0d\uff20"  # what a formula begins with, also in full width


def data_frame(table: Table) -> pd.DataFrame:
    """The values behind the cells: columns of int64, float64 or text, each of which may lack some.

    A column of the table becomes one or more; see `benchmark.tables.formats.Cell`.
    """
    columns = {}
    for heading in table.frame:
        rows = [_values(cell) for cell in table.frame[heading]]
        endings = dict.fromkeys(ending for row in rows for ending in row) or [""]
        for ending in endings:
            name = (heading.replace(INTERVAL, ending) if ending and INTERVAL in heading
                    else heading + ending)
            columns[name] = _column([row.get(ending) for row in rows])
    return pd.DataFrame(columns)


def holds_numbers(cells: Iterable[str]) -> bool:
    """Whether the cells of a column are numbers, as far as they stand for anything."""
    first_values = [next(iter(_values(cell).values()), None) for cell in cells]
    existing = [value for value in first_values if value is not None]
    return bool(existing) and not any(isinstance(value, str) for value in existing)


def rows_of(table: Table) -> list[dict[str, Value]]:
    """The rows of `data_frame` with None for what is missing or infinite, ready for JSON."""
    frame = data_frame(table).replace([math.inf, -math.inf], math.nan).astype(object)
    return frame.where(frame.notna(), None).to_dict("records")


def as_json(table: Table) -> str:
    """Name, title, rows and notes as JSON, and the lead of a table that has one."""
    fields = {"name": table.name, "title": table.title, "rows": rows_of(table),
              "notes": table.every_note}
    if table.lead:
        fields["lead"] = list(table.lead)
    return json.dumps(fields, indent=1, allow_nan=False) + "\n"


def csv(table: Table) -> str:
    """The header and the rows as CSV, without the lead and the notes; see `frame_csv`."""
    return frame_csv(data_frame(table))


def frame_csv(frame: pd.DataFrame) -> str:
    """A frame of numbers and text as CSV.

    Text that a spreadsheet would run as a formula gets a leading apostrophe. It can also begin
    behind a semicolon, which separates the columns in some countries.
    """
    safe = frame.astype(object).map(_csv_value).rename(columns=_csv_text)
    return safe.to_csv(index=False, lineterminator="\n")


def parquet(table: Table) -> bytes:
    """The rows as Parquet, without the lead and the notes."""
    return data_frame(table).to_parquet(index=False)


def _values(cell: str) -> dict[str, Value]:
    """The values of a cell by the endings of their columns; {} if it stands for nothing."""
    if isinstance(cell, Cell):
        return {ending: _rounded(value) for ending, value in cell.data.items()}
    return {} if cell in ABSENT else {"": cell}


def _rounded(value: Value) -> Value:
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _column(values: Sequence[Value]) -> pd.Series:
    existing = [value for value in values if value is not None]
    if any(isinstance(value, str) for value in existing):
        texts = [None if value is None else str(value) for value in values]
        return pd.Series(texts, dtype="string")
    are_whole = existing and all(isinstance(value, int) for value in existing)
    return pd.Series(values, dtype="Int64" if are_whole else "float64")


def _csv_value(value: Any) -> Any:
    return _csv_text(value) if isinstance(value, str) else value


def _csv_text(text: str) -> str:
    line = re.sub(rf"(;\s*)(?=[{_FORMULA}])", r"\1'", one_line(text))
    is_formula = re.match(rf"[{_FORMULA}]", line) and not re.fullmatch(_NUMBER, line)
    return f"'{line}" if is_formula else line
