"""Verbs between strangers: an entry for the leaderboard, its check, and the cells of records run again."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from benchmark.cli.options import plugin, read, records, verb

ENTRIES = Path("records/entries")


def add(verbs: Any) -> None:
    """submit, validate, reproduce."""
    command = verb(verbs, "submit", _submit, "build an entry for the leaderboard from a run of a frozen grid")
    command.add_argument("run", type=Path, metavar="RUN", help="the folder of the run, for instance runs/standard")
    command.add_argument("--defense", required=True, help="the defense that is submitted")
    command.add_argument("--set", action="append", default=[], metavar="defense.KEY=VALUE",
                         help="which of its settings, where the run holds several")
    for flag, text in (("name", "of the entry, as people know it"), ("paper", "where it is described"),
                       ("code", "where its code is")):
        command.add_argument(f"--{flag}", required=True, help=text)
    command.add_argument("--out", type=Path, default=ENTRIES, help=f"folder of entries (default: {ENTRIES})")

    command = verb(verbs, "validate", _validate, "check entries: all there, in agreement, and nothing changed")
    command.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="an entry, or a folder of entries")
    command.add_argument("--against", type=Path, help="the same folder as it was: no published entry may change")
    command.add_argument("--json", action="store_true", help="print JSON")

    command = verb(verbs, "reproduce", _reproduce,
                   "run the cells of records again from nothing, and compare the counts")
    command.add_argument("--set", action="append", default=[], metavar="KEY=VALUE",
                         help="where the data lies, or a file that a record only names")
    command.add_argument("--out", type=Path, default=Path("runs/reproduce"),
                         help="folder of the new records and their store (default: runs/reproduce)")
    records(command)
    plugin(command)


def _submit(options: argparse.Namespace) -> int:
    from benchmark.leaderboard.submit import submit

    print(submit(options.run, options.defense, options.name, options.paper, options.code, options.out, options.set))
    return 0


def _validate(options: argparse.Namespace) -> int:
    from benchmark.leaderboard.validate import validate

    report = validate(options.paths, options.against)
    print(json.dumps(report.to_dict()) if options.json else report.text())
    return 0 if report.ok else 1


def _reproduce(options: argparse.Namespace) -> int:
    from benchmark.config import grid
    from benchmark.leaderboard.reruns import comparison
    from benchmark.pipeline import runner
    from benchmark.pipeline.graph import StageGraph
    from benchmark.pipeline.store import Store
    from benchmark.results.rerun_request import request_of
    from benchmark.tables.formats import markdown

    given = read(options.records)
    cells = [cell for record in given for cell in grid.cells(grid.override(request_of(record), options.set))]
    graph = StageGraph(Store(options.out / "store"))
    outcome = runner.run(cells, graph, options.out)
    again = dict(zip(outcome.paths, outcome.records))
    paths = [runner.record_path(cell, graph, options.out) for cell in cells]
    pairs = [(record, again[path]) for record, path in zip(given, paths) if path in again]
    if pairs:
        table, agree = comparison(pairs)
        print(table.frame.to_json(orient="records") if options.json else markdown(table))
    for failure in outcome.failures:
        print(f"failed: {failure}", file=sys.stderr)
    return int(bool(outcome.failures) or not agree)
