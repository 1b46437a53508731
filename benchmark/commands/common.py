"""What the verbs share: how one is added, flags that many have, and how records are read."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

STORE = Path("runs/store")


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


def records(command: argparse.ArgumentParser) -> None:
    """Record files or folders, and JSON instead of tables."""
    command.add_argument("records", nargs="+", type=Path, help="record files, or folders that hold them")
    command.add_argument("--json", action="store_true", help="print JSON instead of tables")


def read(given: list[Path]) -> list[Any]:
    """The records in files and folders. Raises UserError as `collect` does."""
    from benchmark.leaderboard.collection import collect

    return [record for _, record in collect(given)]


def publish(found: list[tuple[Path, Any]], out: Path | None, json: bool) -> None:
    """Print the tables of records, and write them and a page to a folder. found: the records and where each lies."""
    from benchmark.leaderboard import board
    from benchmark.leaderboard.page import write_page

    told = board(record for _, record in found)
    if out:
        told.write(out)
        write_page(told.scenarios, {id(record): path for path, record in found}, out / "leaderboard.html", told.rankings)
    print(told.controls.to_json(orient="records") if json else told.text())
