"""What the verbs share: how one is added, flags that many have, and how records are read."""

import argparse
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

STORE = Path("runs/store")
SHORTCUTS = {"model": "model", "weights": "model.weights", "attack": "attack", "defense": "defense", "data": "data"}


def verb(within: Any, name: str, function: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
    """A verb of the command line, or of another verb, and the function that it calls."""
    command = within.add_parser(name, help=text, description=text)
    command.set_defaults(function=function)
    return command


def group(verbs: Any, name: str, text: str, metavar: str = "COMMAND") -> Any:
    """A verb that has verbs of its own."""
    return verbs.add_parser(name, help=text).add_subparsers(required=True, metavar=metavar)


def plugin(command: argparse.ArgumentParser) -> None:
    """The flag of files with entries from outside the tree."""
    command.add_argument("--plugin", action="append", metavar="FILE", help="a .py file of your own with an entry")


def grid_of(command: argparse.ArgumentParser, *left_out: str) -> None:
    """The flags that say which grid, and where its counters are. left_out: shortcuts that the verb does without."""
    command.add_argument("source", help="a preset (see `crowdbench list presets`) or a YAML file")
    for flag, key in SHORTCUTS.items():
        if flag not in left_out:
            command.add_argument(f"--{flag}", metavar="VALUE", help=f"short for --set {key}=VALUE; --set goes on top")
    command.add_argument("--set", action="append", default=[], metavar="KEY=VALUE",
                         help="override a setting; values separated by commas make an axis of the grid")
    command.add_argument("--store", type=Path, default=STORE, help=f"folder of trained counters (default: {STORE})")
    plugin(command)


def request_from_flags(options: argparse.Namespace) -> dict[str, Any]:
    """The request of the flags of a grid. Raises UserError."""
    from benchmark.config import grid

    given = {key: getattr(options, flag, None) for flag, key in SHORTCUTS.items()}
    shortcuts = [f"{key}={value}" for key, value in given.items() if value is not None]
    return grid.override(grid.load(options.source), shortcuts + options.set)


def equivalent_command(options: argparse.Namespace) -> str:
    """The command that runs the same grid into the same store."""
    given = [(f"--{flag}", getattr(options, flag, None)) for flag in SHORTCUTS]
    given += [("--set", setting) for setting in options.set] + [("--plugin", path) for path in options.plugin or []]
    given.append(("--store", None if options.store == STORE else options.store))
    flags = [str(part) for flag, value in given if value is not None for part in (flag, value)]
    return shlex.join(["crowdbench", "run", options.source, *flags])


def records(command: argparse.ArgumentParser) -> None:
    """Record files or folders, and JSON instead of tables."""
    command.add_argument("records", nargs="+", type=Path, help="record files, or folders that hold them")
    command.add_argument("--json", action="store_true", help="print JSON instead of tables")


def read(given: list[Path]) -> list[Any]:
    """The records in files and folders. Raises UserError as `collect` does."""
    from benchmark.leaderboard.load import collect

    return [record for _, record in collect(given)]


def publish(found: list[tuple[Path, Any]], out: Path | None, json: bool) -> None:
    """Print the tables of records, and write them and a page to a folder. found: the records and where each lies."""
    from benchmark.leaderboard.html_page import write_page
    from benchmark.leaderboard.report import board

    told = board(record for _, record in found)
    if out:
        told.write(out)
        paths = {id(record): path for path, record in found}
        write_page(told.scenarios, paths, out / "leaderboard.html", told.rankings)
    print(told.controls.to_json(orient="records") if json else told.text())
