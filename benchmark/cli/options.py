"""Options that several commands share, and the request that they make."""

import argparse
import shlex
import shutil
import sys
from collections.abc import Callable, Collection, Sequence
from json import dumps
from pathlib import Path
from typing import Any

STORE = Path("runs/store")
SHORTCUTS = {"model": "model", "weights": "model.weights", "attack": "attack", "defense": "defense",
             "data": "data"}


def add_command(commands: Any, name: str, function: Callable[[argparse.Namespace], int],
                text: str) -> argparse.ArgumentParser:
    """Add a command, or a command of a group, and the function that it calls."""
    command = commands.add_parser(name, help=text, description=text)
    command.set_defaults(function=function)
    return command


def add_group(commands: Any, name: str, text: str, metavar: str = "COMMAND") -> Any:
    """Add a command that has commands of its own."""
    group = commands.add_parser(name, help=text, description=text)
    return group.add_subparsers(required=True, metavar=metavar)


def add_plugin_flag(command: argparse.ArgumentParser, may_be_empty: bool = False) -> None:
    """Add the flag for components that lie outside of the project.

    may_be_empty: whether a file without a component is reported and skipped, not refused.
    """
    command.set_defaults(plugins_may_be_empty=may_be_empty)
    command.add_argument("--plugin", action="append", metavar="FILE",
                         help="a .py file of your own with a component")


def add_grid_options(command: argparse.ArgumentParser, *left_out: str,
                     source: str = "a preset (see `crowdbench list presets`) or a YAML file",
                     metavar: str | None = None) -> None:
    """Add the options that choose a grid and its store.

    left_out: shortcuts that the command does not have. source: what the first argument is.
    """
    command.add_argument("source", help=source, metavar=metavar)
    for flag, key in SHORTCUTS.items():
        if flag not in left_out:
            command.add_argument(f"--{flag}", metavar="VALUE",
                                 help=f"short for --set {key}=VALUE; "
                                      "an explicit --set overrides it")
    command.add_argument("--set", action="append", default=[], metavar="KEY=VALUE",
                         help="change a setting; "
                              "values separated by commas are an axis of the grid, and text in "
                              "quotes is taken as it is: 'data.root=\"my, data\"'")
    command.add_argument("--store", type=Path, default=STORE,
                         help=f"the folder of trained counters (default: {STORE})")
    add_plugin_flag(command)


def request_from_flags(options: argparse.Namespace) -> dict[str, Any]:
    """The request that the options of a grid make. Raises UserError."""
    from benchmark.config.request import load_request, override

    return override(load_request(options.source), assignments(options))


def assignments(options: argparse.Namespace) -> list[str]:
    """The settings that the options of a grid change, as `--set` takes them."""
    given = {key: getattr(options, flag, None) for flag, key in SHORTCUTS.items()}
    shortcuts = [f"{key}={value}" for key, value in given.items() if value is not None]
    return shortcuts + options.set


def equivalent_command(options: argparse.Namespace) -> str:
    """The `crowdbench run` command that runs the same grid into the same store."""
    given = [(f"--{flag}", getattr(options, flag, None)) for flag in SHORTCUTS]
    given += [("--set", setting) for setting in options.set]
    given += [("--plugin", path) for path in options.plugin or []]
    given.append(("--store", None if options.store == STORE else options.store))
    words = ["crowdbench", "run", options.source]
    for flag, value in given:
        if value is not None:
            words += [flag, str(value)]
    return shlex.join(words)


def add_record_options(command: argparse.ArgumentParser) -> None:
    """Add record files or folders, and the flag for JSON."""
    command.add_argument("records", nargs="+", type=Path,
                         help="record files, or folders that hold them")
    command.add_argument("--json", action="store_true", help="print JSON instead of tables")


def read_records(paths: list[Path]) -> list[Any]:
    """The records in files and folders. Raises UserError as `read_record_files` does."""
    from benchmark.leaderboard.load import read_record_files

    return [record for _, record in read_record_files(paths)]


def publish(records: list[tuple[Path, Any]], out: Path | None, json: bool,
            other_audits: Sequence[Any] = (), defenses: Collection[str] | None = None) -> None:
    """Print the tables of records and write them, with a page, to a folder.

    They are printed for a terminal; where stdout is none, all of them as Markdown.

    records: each with its path. other_audits: records that the table of an audit compares with.
    defenses: those of a run, whose results are printed for a terminal wherever stdout leads.
    """
    from benchmark.leaderboard.html_page import write_page
    from benchmark.leaderboard.load import refuse_two_of_one_cell
    from benchmark.leaderboard.report import board
    from benchmark.leaderboard.terminal_report import terminal_report

    refuse_two_of_one_cell(records)
    tables = board((record for _, record in records), other_audits)
    if out:
        tables.write(out)
        paths = {id(record): path for path, record in records}
        write_page(tables.scenarios, paths, out / "leaderboard.html",
                   [*tables.verdicts, *tables.rankings])
    if json:
        print(tables.controls.to_json(orient="records"))
    elif defenses is None and not sys.stdout.isatty():
        print(tables.text())
    else:
        print(terminal_report(tables, terminal_width(), defenses))


def terminal_width() -> int:
    """The characters of a line of stdout, from 80 to 120; 100 where it is no terminal."""
    return min(max(shutil.get_terminal_size((100, 24)).columns, 80), 120)


def print_table(table: Any) -> None:
    """Print a table for a terminal, or as Markdown where stdout is none."""
    from benchmark.tables.formats import markdown
    from benchmark.tables.terminal import terminal

    is_terminal = sys.stdout.isatty()
    print(terminal(table, terminal_width()) if is_terminal else markdown(table))


def print_rows(table: Any) -> None:
    """Print the rows of a table as JSON, numbers as numbers."""
    from benchmark.tables.data import rows_of

    print(dumps(rows_of(table), allow_nan=False))
