"""Parquet files: a data table as a file that pandas, Arrow and `datasets` read.

The same table gives the same bytes with the same version of pyarrow.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from benchmark.publication.data_table import Column, DataTable, Piece

ROW_GROUP = 100_000  # rows that are held in memory and written at once


def write_parquet(table: DataTable, path: Path) -> None:
    """Write a table to a new file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([pa.field(column.name, _type(pa, column),
                                 metadata={"description": column.description})
                        for column in table.columns])
    numbers = [column.name for column in table.columns if column.kind == "number"]
    others = [column.name for column in table.columns if column.kind != "number"]
    # Counts are float32 numbers: four of their eight bytes are zero, and compress to nothing when
    # each byte has its own stream.
    with pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=others,
                          column_encoding=dict.fromkeys(numbers, "BYTE_STREAM_SPLIT")) as writer:
        for rows in _in_groups(_arrow(pa, piece, table, schema) for piece in table.pieces):
            writer.write_table(pa.concat_tables(rows))


def _type(pa: Any, column: Column) -> Any:
    return {"text": pa.string(), "integer": pa.int64(), "number": pa.float64(),
            "truth": pa.bool_()}[column.kind]


def _arrow(pa: Any, piece: Piece, table: DataTable, schema: Any) -> Any:
    arrays = []
    for column, field in zip(table.columns, schema):
        arrays.append(pa.array(piece[column.name], field.type, from_pandas=True))  # nan is missing
    return pa.Table.from_arrays(arrays, schema=schema)


def _in_groups(tables: Iterable[Any]) -> Iterator[list[Any]]:
    """Tables in lists of at least ROW_GROUP rows, but for the last."""
    group, rows = [], 0
    for table in tables:
        group.append(table)
        rows += len(table)
        if rows >= ROW_GROUP:
            yield group
            group, rows = [], 0
    if group:
        yield group
