"""Commands that publish results: records as a dataset, entries as evaluation results."""

import argparse
import re
import sys
from datetime import date
from pathlib import Path
from typing import Any

from benchmark.cli.options import add_command


def add(commands: Any) -> None:
    """Add dataset and hub-results."""
    command = add_command(commands, "dataset", _dataset,
                          "write records as Parquet files with a Croissant description")
    command.add_argument("records", nargs="+", type=Path, metavar="RECORDS",
                         help="record files, or folders that hold them")
    command.add_argument("--to", type=Path, required=True, metavar="FOLDER",
                         help="the new or empty folder to write")
    command.add_argument("--url", type=_web_address,
                         help="the web page where the dataset will be published, for its "
                              "description")
    command.add_argument("--creator", type=_line, help="who made the records (default: the "
                                                       "contributors of this project)")
    command.add_argument("--licence", type=_licence, metavar="NAME",
                         help="the licence of the records by its name in spdx.org/licenses, for "
                              "instance CC-BY-4.0 (default: MIT)")
    command.add_argument("--date", type=_date, default=date.today().isoformat(),
                         metavar="YYYY-MM-DD",
                         help="the day of the publication (default: today)")

    command = add_command(commands, "hub-results", _hub_results,
                          "write the numbers of a leaderboard entry in the form of Hugging Face's "
                          "evaluation results")
    command.add_argument("entry", type=Path, metavar="ENTRY",
                         help="the folder of an entry, records/entries/GRID/DEFENSE/REVISION")
    command.add_argument("--dataset", type=_hub_dataset, required=True,
                         metavar="OWNER/NAME[@REVISION]",
                         help="the dataset at Hugging Face that holds the benchmark")
    command.add_argument("--to", type=Path, required=True, metavar="FOLDER",
                         help="the new or empty folder to write")


def _dataset(options: argparse.Namespace) -> int:
    from benchmark.publication.croissant import Publication
    from benchmark.publication.dataset import CROISSANT, write_dataset
    from benchmark.utils.human import number

    said = {key: getattr(options, key) for key in ("date", "url", "creator", "licence")}
    publication = Publication(**{key: value for key, value in said.items() if value})
    records = write_dataset(options.records, options.to, publication)
    print(f"{options.to}: {number(records, 'record')}")
    if not options.url:
        print(f"{options.to / CROISSANT}: has no url, which Croissant wants of a published "
              "dataset; give --url", file=sys.stderr)
    return 0


def _hub_results(options: argparse.Namespace) -> int:
    from benchmark.publication.hub_results import write_hub_results

    for path in write_hub_results(options.entry, options.dataset, options.to):
        print(path)
    return 0


def _line(text: str) -> str:
    from pydantic import TypeAdapter, ValidationError

    from benchmark.leaderboard.manifest import Text

    try:
        return TypeAdapter(Text).validate_python(text)
    except ValidationError:
        raise argparse.ArgumentTypeError("expected 1 to 300 printable characters") from None


def _web_address(text: str) -> str:
    from pydantic import TypeAdapter, ValidationError

    from benchmark.leaderboard.manifest import Url

    try:
        return TypeAdapter(Url).validate_python(text)
    except ValidationError:
        raise argparse.ArgumentTypeError(
            "expected the address of a web page, http://... or https://...") from None


def _licence(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9.+-]{1,60}", text):
        raise argparse.ArgumentTypeError("expected the name of a licence in spdx.org/licenses, "
                                         "for instance CC-BY-4.0")
    return text


def _date(text: str) -> str:
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise argparse.ArgumentTypeError("expected a date, YYYY-MM-DD") from None


def _hub_dataset(text: str) -> Any:
    from benchmark.publication.hub_results import HubDataset

    return HubDataset.parse(text)
