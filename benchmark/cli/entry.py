"""Commands to exchange results: submit, validate and verify entries, and reproduce records."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from benchmark.cli.options import (STORE, add_command, add_plugin_flag, add_record_options,
                                   print_rows, print_table, read_records)

ENTRIES = Path("records/entries")


def add(commands: Any) -> None:
    """Add submit, validate, reproduce and verify."""
    for add_one in (_add_submit, _add_validate, _add_reproduce, _add_verify):
        add_one(commands)


def _add_submit(commands: Any) -> None:
    command = add_command(commands, "submit", _submit,
                          "build a leaderboard entry from a run of a frozen grid")
    command.add_argument("run", type=Path, metavar="RUN",
                         help="the folder of the run, for instance runs/standard")
    subject = command.add_mutually_exclusive_group(required=True)
    subject.add_argument("--defense", help="the defense to submit")
    subject.add_argument("--attack", metavar="TRIGGER/TARGET", help="the attack to submit")
    command.add_argument("--set", action="append", default=[], metavar="KEY=VALUE",
                         help="a setting of the defense (defense.KEY=VALUE) or of the attack "
                              "(attack.KEY=VALUE), where the run holds several")
    for flag, text in (("name", "the name of the entry, as people know it"),
                       ("paper", "where it is described: http://..., https://... or a file of "
                        "this project"),
                       ("code", "where its code is: an address or a file, as for --paper")):
        command.add_argument(f"--{flag}", required=True, help=text)
    command.add_argument("--out", type=Path, default=ENTRIES,
                         help=f"the folder of entries (default: {ENTRIES})")


def _add_validate(commands: Any) -> None:
    command = add_command(commands, "validate", _validate,
                          "check that entries are complete, consistent and unchanged")
    command.add_argument("paths", nargs="+", type=Path, metavar="PATH",
                         help="an entry, or a folder of entries")
    command.add_argument("--against", type=Path,
                         help="an older copy of the folder: no published entry may change")
    command.add_argument("--json", action="store_true", help="print JSON")


def _add_reproduce(commands: Any) -> None:
    command = add_command(commands, "reproduce", _reproduce,
                          "run the cells of records again from the start and compare the counts")
    command.add_argument("--set", action="append", default=[], metavar="KEY=VALUE",
                         help="where the data, or a file that a record names, lies on this machine")
    command.add_argument("--out", type=Path, default=Path("runs/reproduce"),
                         help="the folder of the new records and their store "
                              "(default: runs/reproduce)")
    command.add_argument("--from-zoo", metavar="ZOO",
                         help="take the trained counters from a zoo, and only count again: a "
                              "folder, http(s)://... or hf://OWNER/NAME")
    add_record_options(command)
    add_plugin_flag(command)


def _add_verify(commands: Any) -> None:
    command = add_command(commands, "verify", _verify,
                          "run cells of a published entry with seeds that nobody chose, and add "
                          "the records to the entry")
    command.add_argument("entry", type=Path, metavar="ENTRY",
                         help="the folder of the entry, PROTOCOL/NAME/REVISION")
    command.add_argument("--cells", type=int, default=3, metavar="N",
                         help="how many cells to run, counting those that were run before "
                              "(default: 3)")
    command.add_argument("--commit", metavar="HASH",
                         help="the commit that published the entry (default: git is asked)")
    command.add_argument("--set", action="append", default=[], metavar="KEY=VALUE",
                         help="where the data, or a file that a record names, lies on this machine")
    command.add_argument("--store", type=Path, default=STORE,
                         help=f"the folder of trained counters (default: {STORE})")
    command.add_argument("--dry-run", action="store_true",
                         help="say which cells and seeds were drawn, and what they take")
    command.add_argument("--json", action="store_true", help="print JSON instead of a table")
    add_plugin_flag(command)


def _submit(options: argparse.Namespace) -> int:
    from benchmark.leaderboard.submit import submit, submit_attack

    write, subject = ((submit, options.defense) if options.defense is not None
                      else (submit_attack, options.attack))
    print(write(options.run, subject, options.name, options.paper, options.code, options.out,
                options.set))
    return 0


def _validate(options: argparse.Namespace) -> int:
    from benchmark.leaderboard.validate import validate

    report = validate(options.paths, options.against)
    print(json.dumps(report.to_dict()) if options.json else report.text())
    return 0 if report.ok else 1


def _reproduce(options: argparse.Namespace) -> int:
    from benchmark.leaderboard.reruns import comparison
    from benchmark.pipeline import runner
    from benchmark.pipeline.graph import StageGraph
    from benchmark.pipeline.store import Store
    from benchmark.results.rerun_request import cell_of

    records = read_records(options.records)
    grid = [cell_of(record, options.set) for record in records]
    graph = StageGraph(Store(options.out / "store"))
    if options.from_zoo:
        _pull_counters(options.from_zoo, grid, graph)
    outcome = runner.run(grid, graph, options.out)
    reruns = dict(zip(outcome.paths, outcome.records))
    paths = [runner.record_path(cell, graph, options.out) for cell in grid]
    pairs = [(record, reruns[path]) for record, path in zip(records, paths) if path in reruns]
    agree = True
    if pairs:
        table, agree = comparison(pairs)
        (print_rows if options.json else print_table)(table)
    for failure in outcome.failures:
        print(f"failed: {failure}", file=sys.stderr)
    return int(bool(outcome.failures) or not agree)


def _verify(options: argparse.Namespace) -> int:
    from benchmark.leaderboard.verify import add_runs, draw, refuse_other_code
    from benchmark.leaderboard.verification import NOT_CONFIRMED
    from benchmark.pipeline import runner
    from benchmark.pipeline.dry_run import plan
    from benchmark.pipeline.graph import StageGraph
    from benchmark.pipeline.store import Store
    from benchmark.utils.progress import log

    drawing = draw(options.entry, options.cells, options.commit)
    grid = drawing.grid(options.set)
    refuse_other_code(drawing, grid)
    graph, out = StageGraph(Store(options.store)), Path("runs") / "verify" / drawing.name
    log(f"cells and seeds were drawn from the revision and the commit {drawing.commit}")
    if options.dry_run:
        planned = plan(grid, graph, out)
        print(json.dumps(planned.to_dict()) if options.json else planned.text())
        return 0
    outcome = runner.run(grid, graph, out)
    if outcome.failures:
        for failure in outcome.failures:
            print(f"failed: {failure}", file=sys.stderr)
        return 1
    verification = add_runs(drawing, outcome.paths)
    table = verification.table()
    (print_rows if options.json else print_table)(table)
    return int(verification.verdict == NOT_CONFIRMED)


def _pull_counters(zoo: str, grid: list[Any], graph: Any) -> None:
    """Take the counters of some cells from a zoo into the store of a graph."""
    from benchmark.zoo.index import KINDS
    from benchmark.zoo.pull import check_space, index_of, missing, pull
    from benchmark.zoo.sources import source

    place = source(zoo)
    index = index_of(place)
    wanted = {stage.key: stage.title for cell in grid for stage in graph.stages(cell)
              if stage.kind in KINDS}
    stages = missing(index, graph.store.root, wanted.keys())
    check_space(stages, graph.store.root)
    pull(place, stages, graph.store.root)
    for key in wanted.keys() - index.stages.keys():
        print(f"zoo {zoo}: it lacks a stage, which is made here: {wanted[key]}", file=sys.stderr)
