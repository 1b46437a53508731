"""Data tables: columns with a type and a description, and rows that are made in pieces."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Kind = Literal["text", "integer", "number", "truth"]
Piece = Mapping[str, Sequence[Any] | np.ndarray]  # by column; None or nan is a missing value


@dataclass(frozen=True)
class Column:
    """A column of a table. kind: the type of its values. description: one sentence."""

    name: str
    kind: Kind
    description: str


# Columns of both tables.
PROTOCOL = Column("protocol", "text",
                  "The frozen grid that the cell belongs to; missing for other cells.")
SEED = Column("seed", "integer",
              "The seed of the weights, the order and the choice of poisoned images.")


@dataclass(frozen=True)
class DataTable:
    """A table that is written as NAME.parquet.

    key: the columns whose values identify a row. pieces: the rows, in order; each piece has the
        values of every column, and may be made when it is asked for.
    references: a column and the table and column whose values it repeats.
    """

    name: str
    description: str
    columns: Sequence[Column]
    key: Sequence[str]
    pieces: Iterable[Piece]
    references: Mapping[str, tuple[str, str]]

    @property
    def file(self) -> str:
        return f"{self.name}.parquet"
