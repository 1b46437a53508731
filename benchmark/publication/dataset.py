"""Dataset: records as Parquet files, with a Croissant description and a dataset card."""

from collections.abc import Sequence
from pathlib import Path

from benchmark.publication.card import card
from benchmark.publication.cells import cell_table
from benchmark.publication.counts import count_table
from benchmark.publication.croissant import Publication, describe
from benchmark.publication.parquet import write_parquet
from benchmark.publication.sources import read_sources
from benchmark.utils.files import whole_folder, write_atomically
from benchmark.utils.new_folder import check_new_folder

CROISSANT, CARD = "croissant.json", "README.md"


def write_dataset(paths: Sequence[Path], out: Path, publication: Publication) -> int:
    """Write the records in files and folders as a dataset. Returns the number of records.

    out: a new or empty folder, which is written as a whole or not at all.

    Raises:
        UserError: pyarrow is missing, the folder is not empty, or the records cannot be read or do
            not fit together.
        OSError: the folder cannot be written; the error names it.
    """
    check_new_folder(out)
    sources = read_sources(paths)
    tables = [count_table(sources), cell_table(sources)]
    with whole_folder(out.resolve()) as draft:
        for table in tables:
            write_parquet(table, draft / table.file)
        write_atomically(draft / CROISSANT, describe(tables, draft, publication))
        sizes = [(draft / table.file).stat().st_size for table in tables]
        write_atomically(draft / CARD, card(tables, sizes, len(sources), publication.licence))
    return len(sources)
