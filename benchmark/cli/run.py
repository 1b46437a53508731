"""Verbs that run a grid, and write a new defense to start from."""

import argparse
import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

from benchmark.cli.options import grid_of, publish, request_from_flags, verb
from benchmark.utils.errors import UserError


def add(verbs: Any) -> None:
    """run, new."""
    command = verb(verbs, "run", _run, "run a grid of cells and print its tables")
    grid_of(command)
    command.add_argument("--out", type=Path, help="folder for records and tables (default: runs/SOURCE)")
    command.add_argument("--dry-run", action="store_true", help="print what would be done, how long it will take and "
                         "how much disk it needs, and do nothing")
    command.add_argument("--json", action="store_true", help="print JSON instead of tables")
    command.add_argument("--retry-failed", action="store_true", help="run only the cells that failed before, again")
    command.add_argument("--shard", metavar="I/N", type=_share, default=(1, 1),
                         help="run only share I of N, for job arrays; cells of one victim are of one share")
    command.add_argument("--executor", choices=["here", "ray"], default="here",
                         help="make stages in this process (default), or on a Ray cluster")
    command.add_argument("--address", help="of a running Ray cluster, 'auto' for this machine's (default: start one)")
    command.add_argument("--cpus", type=float, default=1, help="processors that a stage on Ray asks for (default: 1)")
    command.add_argument("--gpus", type=float, help="GPUs that a stage on Ray asks for; 0.5 lets two share one "
                         "(default: 1 where there are any)")

    command = verb(verbs, "new", _new, "write a defense of your own to start from, and its test")
    command.add_argument("what", choices=["defense", "detector"])
    command.add_argument("name", help="of the defense and of its file")
    command.add_argument("--out", type=Path, default=Path(), help="folder to write to (default: this one)")


def _run(options: argparse.Namespace) -> int:
    from benchmark.config import grid
    from benchmark.leaderboard.load import collect
    from benchmark.leaderboard.report import related_records
    from benchmark.pipeline import dry_run, runner
    from benchmark.pipeline.graph import StageGraph
    from benchmark.pipeline.store import Store
    from benchmark.utils.device import state

    cells = grid.cells(request_from_flags(options))
    graph, out = StageGraph(Store(options.store)), options.out or Path("runs") / Path(options.source).stem
    if options.shard != (1, 1):
        cells = runner.shard(cells, graph, *options.shard)
    if options.dry_run:
        plan = dry_run.plan(cells, graph, out)
        print(json.dumps(plan.to_dict()) if options.json else plan.text())
        return 0
    outcome = runner.run(cells, graph, out, _executor(options), options.retry_failed)
    if outcome.records and state().is_main_process:
        earlier = {id(record): (path, record) for path, record in collect([out / "records"])}
        others = related_records(outcome.records, [record for _, record in earlier.values()])
        publish([*zip(outcome.paths, outcome.records), *(earlier[id(record)] for record in others)], out, options.json)
        if others and not options.json:
            _print_differences(outcome.records, outcome.records + others)
        print(f"records: {out / 'records'}  tables: {out / 'tables'}  page: {out / 'leaderboard.html'}",
              file=sys.stderr)
    for failure in outcome.failures:
        print(f"failed: {failure}", file=sys.stderr)
    return 1 if outcome.failures else 0


def _share(text: str) -> tuple[int, int]:
    number, slash, shards = text.partition("/")
    if not (slash and number.isdecimal() and shards.isdecimal() and 1 <= int(number) <= int(shards)):
        raise argparse.ArgumentTypeError(f"{text!r}: expected I/N with I from 1 to N, for instance 3/8")
    return int(number), int(shards)


def _executor(options: argparse.Namespace) -> Any:
    from benchmark.pipeline.local_executor import run_locally
    from benchmark.pipeline.ray_executor import on_ray

    if options.executor == "ray":
        return partial(on_ray, address=options.address, cpus=options.cpus, gpus=options.gpus,
                       plugins=[Path(plugin) for plugin in options.plugin or []])
    for flag in ("address", "gpus"):
        if getattr(options, flag) is not None:
            raise UserError(f"--{flag}: expected only with --executor ray")
    return run_locally


def _print_differences(own: list[Any], records: list[Any]) -> None:
    """What each repairing defense of a run does better and worse than those of earlier runs."""
    from benchmark.leaderboard.report import CONTROLS, compare
    from benchmark.tables.formats import markdown

    repairs = {record.defense.name for record in own if record.detection is None or
               record.detection.of == "training images"}
    for defense in sorted(repairs - {"none", *CONTROLS}):
        print(markdown(compare(records, defense)))


def _new(options: argparse.Namespace) -> int:
    from benchmark.cli.scaffold import write_new

    for path in (paths := write_new(options.what, options.name, options.out)):
        print(path)
    print(f"try: python -m pytest {paths[1]}; crowdbench run quick --defense {options.name} --plugin {paths[0]}",
          file=sys.stderr)
    return 0
