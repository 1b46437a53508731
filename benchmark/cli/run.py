"""The command that runs a grid."""

import argparse
import json
import re
import sys
from functools import partial
from pathlib import Path
from typing import Any

from benchmark.cli.options import add_command, add_grid_options, publish, request_from_flags
from benchmark.utils.errors import UserError


def add(commands: Any) -> None:
    """Add run."""
    command = add_command(commands, "run", _run, "run a grid of cells and print its tables")
    add_grid_options(command)
    command.add_argument("--controls", action="store_true",
                         help="also run what a defense is compared with: none, and retraining on "
                              "as many clean images, for as many steps")
    command.add_argument("--out", type=Path,
                         help="the folder for records and tables (default: runs/SOURCE)")
    command.add_argument("--dry-run", action="store_true",
                         help="print the cells, the missing stages, the time and the disk space, "
                              "and run nothing")
    command.add_argument("--json", action="store_true", help="print JSON instead of tables")
    command.add_argument("--retry-failed", action="store_true",
                         help="also try again what failed before")
    command.add_argument("--shard", metavar="I/N", type=_share, default=(1, 1),
                         help="run share I of N, for job arrays; "
                              "cells with the same victim are in the same share")
    command.add_argument("--executor", choices=["here", "ray"], default="here",
                         help="make stages in this process (default) or on a Ray cluster")
    command.add_argument("--address",
                         help="a running Ray cluster, 'auto' for this machine's "
                              "(default: start a cluster)")
    command.add_argument("--cpus", type=_processors,
                         help="processors for each stage on Ray (default: 1)")
    command.add_argument("--gpus", type=_processors,
                         help="GPUs for each stage on Ray; with 0.5 two stages share one "
                              "(default: 1 if the cluster has any)")


def _run(options: argparse.Namespace) -> int:
    from benchmark.config.grid import cells
    from benchmark.config.request import load_request

    _check_executor_flags(options)
    request = request_from_flags(options)
    if options.controls:
        from benchmark.pipeline.controls import with_controls

        request = with_controls(request, load_request(options.source))
    grid = cells(request)

    from benchmark.pipeline import runner
    from benchmark.pipeline.graph import StageGraph
    from benchmark.pipeline.store import Store

    graph = StageGraph(Store(options.store))
    out = options.out or Path("runs") / Path(options.source).stem
    if options.shard != (1, 1):
        grid = runner.shard(grid, graph, *options.shard)
    if options.dry_run:
        return _print_plan(grid, graph, out, options.json)
    outcome = runner.run(grid, graph, out, _executor(options), options.retry_failed)
    _print_tables(outcome, out, options.json)
    for failure in outcome.failures:
        print(f"failed: {failure}", file=sys.stderr)
    return 1 if outcome.failures else 0


def _print_plan(grid: list[Any], graph: Any, out: Path, as_json: bool) -> int:
    from benchmark.pipeline.dry_run import plan

    planned = plan(grid, graph, out)
    print(json.dumps(planned.to_dict()) if as_json else planned.text())
    return 0


def _print_tables(outcome: Any, out: Path, as_json: bool) -> None:
    """Print the tables of a run's records and of the earlier ones of the same victims in `out`.

    An audit is also compared with the earlier audits of other counters.
    """
    from benchmark.leaderboard.entry_labels import label_entries
    from benchmark.leaderboard.load import read_sound
    from benchmark.leaderboard.report import other_audits, related_records
    from benchmark.utils.device import state

    if not outcome.records or not state().is_main_process:
        return
    found, broken = read_sound(sorted((out / "records").glob("[!.]*.json")))
    for line in broken:
        print(line, file=sys.stderr)
    earlier = {id(record): (path, record) for path, record in label_entries(found)}
    earlier_records = [record for _, record in earlier.values()]
    others = related_records(outcome.records, earlier_records)
    related = [earlier[id(record)] for record in others]
    repairs = {record.defense.name for record in outcome.records
               if record.detection is None or record.detection.of == "training images"}
    publish([*zip(outcome.paths, outcome.records), *related], out, as_json,
            other_audits(outcome.records, earlier_records), repairs)
    print(f"all tables: {out / 'tables'}  page: {out / 'leaderboard.html'}  "
          f"records: {out / 'records'}", file=sys.stderr)


def _share(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text, re.ASCII)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise argparse.ArgumentTypeError(f"{text!r}: expected I/N with I from 1 to N, "
                                         "for instance 3/8")
    return int(found[1]), int(found[2])


def _processors(text: str) -> float:
    """A number of processors; 0.5 is half of one."""
    if not re.fullmatch(r"\d{1,6}(\.\d{1,6})?", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number of processors, for "
                                         "instance 2 or 0.5")
    return float(text)


def _check_executor_flags(options: argparse.Namespace) -> None:
    for flag in ("address", "cpus", "gpus"):
        if options.executor != "ray" and getattr(options, flag) is not None:
            raise UserError(f"--{flag}: expected only with --executor ray")


def _executor(options: argparse.Namespace) -> Any:
    from benchmark.pipeline.local_executor import run_locally
    from benchmark.pipeline.ray_executor import on_ray

    if options.executor == "ray":
        plugins = [Path(plugin) for plugin in options.plugin or []]
        cpus = 1 if options.cpus is None else options.cpus
        return partial(on_ray, address=options.address, cpus=cpus, gpus=options.gpus,
                       plugins=plugins)
    return run_locally
