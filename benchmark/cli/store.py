"""Verbs that look after the store."""

import argparse
import json
from pathlib import Path
from typing import Any

from tabulate import tabulate

from benchmark.cli.options import STORE, group, read, verb


def add(verbs: Any) -> None:
    """store list, verify, gc."""
    store = group(verbs, "store", "look after trained counters")
    for command in (verb(store, "list", _store_list, "list what is there, finished or not"),
                    verified := verb(store, "verify", _store_verify, "find what is not as it was written"),
                    cleared := verb(store, "gc", _store_gc, "take away what failed and stopped runs left, with their "
                                    "checkpoints, and with --keep what no record needs")):
        command.add_argument("--store", type=Path, default=STORE, help=f"the folder (default: {STORE})")
        command.add_argument("--json", action="store_true", help="print JSON")
    verified.add_argument("--remove", action="store_true", help="take damaged stages away; a run makes them again")
    cleared.add_argument("--keep", nargs="+", type=Path, metavar="RECORDS",
                         help="record files or folders: finished stages that none of them needs go too")
    cleared.add_argument("--dry-run", action="store_true", help="print what would go, and take nothing away")


def _store_list(options: argparse.Namespace) -> int:
    from benchmark.pipeline.store_admin import contents

    _print_stages(contents(options.store), options.json)
    return 0


def _store_verify(options: argparse.Namespace) -> int:
    from benchmark.pipeline.store_admin import contents, damaged, remove

    found = list(damaged(options.store))
    if options.remove:
        remove(one for one, _ in found)
    told = [one.row() | {"wrong": wrong, "removed": options.remove} for one, wrong in found]
    print(json.dumps(told) if options.json else "\n".join(
        [*(f"{one.title}: {wrong}{'; removed' if options.remove else ''}" for one, wrong in found),
         f"{len(contents(options.store))} stages, {len(found)} damaged"]))
    return int(bool(found) and not options.remove)


def _store_gc(options: argparse.Namespace) -> int:
    from benchmark.pipeline.store_admin import garbage, remove

    gone = garbage(options.store, read(options.keep) if options.keep else None)
    if not options.dry_run:
        remove(gone)
    _print_stages(gone, options.json)
    return 0


def _print_stages(stages: list[Any], as_json: bool) -> None:
    from benchmark.utils.human import duration, size

    if as_json:
        print(json.dumps([one.row() for one in stages]))
        return
    rows = [{"kind": one.kind, "key": one.key, "stage": one.title, "status": one.status, "size": size(one.size),
             "took": "" if one.seconds is None else duration(one.seconds), "written": one.changed} for one in stages]
    total = f"{len(stages)} stages, {size(sum(one.size for one in stages))}"
    print("\n".join([*([tabulate(rows, headers="keys", tablefmt="simple"), ""] if rows else []), total]))
