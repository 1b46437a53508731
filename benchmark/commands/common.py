"""What the verbs share: how one is added, flags that many have, and how records are read."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmark.entry import FILE
from benchmark.errors import UserError

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
    """The records in files and folders. Raises UserError as `pairs` does."""
    return [record for _, record in pairs(given)]


def pairs(given: list[Path]) -> list[tuple[Path, Any]]:
    """The records in files and folders, each with its path.

    Raises:
        UserError: there is none, or one is broken.
    """
    from benchmark.record import Record

    paths = [path for part in given for path in (sorted(part.rglob("*.json")) if part.is_dir() else [part])
             if path.name != FILE]
    if not paths:
        raise UserError(f"no record (*.json) in {', '.join(map(str, given))}")
    return [(path, _of_entry(Record.read(path), path)) for path in paths]


def _of_entry(record: Any, path: Path) -> Any:
    """A record of an entry says of which: two entries have victims of their own, of the same settings."""
    if not (path.parent.parent / FILE).is_file():
        return record
    return record.model_copy(update={"provenance": record.provenance | {"entry": "/".join(path.parts[-4:-2])}})


def as_json(records: list[Any]) -> str:
    """The table of controls of records."""
    from benchmark.leaderboard import controls

    return controls(records).to_json(orient="records")


def write_page(records: list[Any], paths: dict[int, Path], out: Path) -> None:
    """The page of records. paths: where each lies, by its id()."""
    from benchmark.leaderboard.cells import scenarios
    from benchmark.leaderboard.page import write_page as write

    write(scenarios(records), paths, out / "leaderboard.html")
