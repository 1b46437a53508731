"""The records in the folder of a run. A broken one is named, counts as missing, and ends no run."""

from pathlib import Path

from benchmark.results.record import Record
from benchmark.utils.device import state
from benchmark.utils.errors import UserError
from benchmark.utils.files import write_atomically
from benchmark.utils.progress import log


def read_if_sound(path: Path) -> Record | None:
    """The record in a file; None where there is none, or where it is broken, which is told.

    Raises:
        UserError: a folder is in its place, so that no record can be written there.
    """
    if path.is_dir():
        raise UserError(f"record {path}: expected a file, found a folder; remove or rename it")
    if not path.exists():
        return None
    try:
        return Record.read(path)
    except UserError as error:
        log(f"{error}; a broken record counts as missing")
        return None


def write(path: Path, record: Record) -> None:
    """Write a record, in the main process only. Raises OSError where that is impossible."""
    if state().is_main_process:
        write_atomically(path, record.dumps())
