"""Commands that look after the store of trained counters."""

import argparse
import json
from pathlib import Path
from typing import Any

from tabulate import tabulate

from benchmark.cli.options import STORE, add_command, add_group, read_records


def add(commands: Any) -> None:
    """Add store list, store verify and store gc."""
    store = add_group(commands, "store", "manage the trained counters")
    listing = add_command(store, "list", _list, "list the stages, finished or not")
    verify = add_command(store, "verify", _verify, "check every file against its checksum")
    collect = add_command(store, "gc", _collect_garbage,
                          "delete what failed and interrupted runs left behind "
                          "and, with --keep, the stages that no record needs")
    for command in (listing, verify, collect):
        command.add_argument("--store", type=Path, default=STORE,
                             help=f"the folder (default: {STORE})")
        command.add_argument("--json", action="store_true", help="print JSON")
    verify.add_argument("--remove", action="store_true",
                        help="delete damaged stages; the next run makes them again")
    collect.add_argument("--keep", nargs="+", type=Path, metavar="RECORDS",
                         help="record files or folders: "
                              "finished stages that none of these records needs are deleted")
    collect.add_argument("--dry-run", action="store_true",
                         help="list what would be deleted, and delete nothing")


def _list(options: argparse.Namespace) -> int:
    from benchmark.pipeline.store_admin import contents

    _print_stages(contents(options.store), options.json)
    return 0


def _verify(options: argparse.Namespace) -> int:
    from benchmark.pipeline.store_admin import contents, damaged, remove_damaged
    from benchmark.utils.human import number

    stages = len(contents(options.store))
    problems = list(damaged(options.store))
    if options.remove:
        remove_damaged(stage for stage, _ in problems)
    if options.json:
        rows = [stage.row() | {"wrong": wrong, "removed": options.remove}
                for stage, wrong in problems]
        print(json.dumps(rows))
    else:
        for stage, wrong in problems:
            print(f"{stage.title}: {wrong}{'; removed' if options.remove else ''}")
        kept = stages - len(problems) if options.remove else stages
        print(f"{number(kept, 'stage')}, {len(problems)} damaged")
    return int(bool(problems) and not options.remove)


def _collect_garbage(options: argparse.Namespace) -> int:
    from benchmark.pipeline.store_admin import garbage, remove

    stages = garbage(options.store, read_records(options.keep) if options.keep else None)
    if not options.dry_run:
        remove(stages)
    _print_stages(stages, options.json)
    return 0


def _print_stages(stages: list[Any], as_json: bool) -> None:
    from benchmark.pipeline.stage_names import differences, name
    from benchmark.utils.human import duration, number, size

    differing = differences(stages)
    if as_json:
        print(json.dumps([stage.row() | {"differs_in": settings}
                          for stage, settings in zip(stages, differing)]))
        return
    rows = [{"kind": stage.kind, "key": stage.key, "stage": name(stage.title, settings),
             "status": stage.status,
             "size": size(stage.size),
             "took": "" if stage.seconds is None else duration(stage.seconds),
             "written": stage.changed}
            for stage, settings in zip(stages, differing)]
    if rows:
        print(tabulate(rows, headers="keys", tablefmt="simple") + "\n")
    print(f"{number(len(stages), 'stage')}, {size(sum(stage.size for stage in stages))}")
