"""The command that exports a cell: its images and its victim, for other programs."""

import argparse
import shlex
from pathlib import Path
from typing import Any

from benchmark.cli.options import (add_command, add_grid_options, assignments, equivalent_command,
                                   read_records, request_from_flags)
from benchmark.utils.errors import UserError, shown

CELL = "a record file, or a preset or YAML file that the flags narrow to one cell"


def add(commands: Any) -> None:
    """Add export."""
    command = add_command(commands, "export", _export,
                          "write the poisoned and triggered images and the victim of a cell as "
                          "files, for other programs")
    command.add_argument("--to", type=Path, required=True, metavar="FOLDER",
                         help="the new or empty folder to write")
    add_grid_options(command, source=CELL, metavar="CELL")


def _export(options: argparse.Namespace) -> int:
    from benchmark.config.cell import display_names
    from benchmark.config.grid import cells
    from benchmark.config.request import override
    from benchmark.export.content import Content
    from benchmark.export.folder import export
    from benchmark.pipeline.graph import StageGraph
    from benchmark.pipeline.store import Store
    from benchmark.results.rerun_request import request_of

    record = _record(options.source)
    if record:
        request, advice = override(request_of(record), assignments(options)), _rerun(options)
    else:
        request = request_from_flags(options)
        advice = f"run `{equivalent_command(options)}` to make it"
    grid = cells(request)
    if len(grid) != 1:
        names = ", ".join(display_names(grid)[:3])
        raise UserError(f"export {shown(options.source)}: {len(grid)} cells ({names}, ...); "
                        "expected one: give its record file, or narrow the grid with --attack, "
                        "--defense and --set")
    export(Content(grid[0], StageGraph(Store(options.store)), advice, record), options.to)
    print(options.to)
    return 0


def _record(source: str) -> Any:
    """The only record in a file or folder; None for a preset or a YAML file. Raises UserError."""
    path = Path(source)
    if path.suffix != ".json" and not path.is_dir():
        return None
    records = read_records([path])
    if len(records) != 1:
        raise UserError(f"export {shown(source)}: {len(records)} records; expected the file of one")
    return records[0]


def _rerun(options: argparse.Namespace) -> str:
    """Advice for a record whose victim is not in the store, for the message."""
    again = ["crowdbench", "reproduce", options.source, "--out", "runs/reproduce"]
    for flag in ("set", "plugin"):
        for value in getattr(options, flag) or []:
            again += [f"--{flag}", value]
    return (f"give the store of the record's run with --store, or run `{shlex.join(again)}` and "
            "give --store runs/reproduce/store")
