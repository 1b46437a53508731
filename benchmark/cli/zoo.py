"""Commands that share trained counters: push them into a zoo, and pull them from one."""

import argparse
import json
from pathlib import Path
from typing import Any

from tabulate import tabulate

from benchmark.cli.options import STORE, add_command, add_group, add_plugin_flag, read_records
from benchmark.utils.errors import UserError

PLACE = "a folder, http://... or https://..., or hf://OWNER/NAME[@REVISION]"
MOST = "2GB"


def add(commands: Any) -> None:
    """Add zoo push, zoo pull, zoo list and zoo verify."""
    zoo = add_group(commands, "zoo", "share trained counters, and take those of others")
    push = add_command(zoo, "push", _push, "copy the counters behind records into a zoo")
    push.add_argument("records", nargs="+", type=Path, metavar="RECORDS",
                      help="record files, or folders that hold them")
    push.add_argument("--to", type=Path, required=True, metavar="FOLDER",
                      help="the folder of the zoo, new or not")
    push.add_argument("--half", action="store_true",
                      help="write weights in 16 bits where all counts of the test images stay "
                           "exactly the same")
    push.add_argument("--set", action="append", default=[], metavar="KEY=VALUE",
                      help="for --half: where the data, or a file that a record names, lies on this "
                           "machine")

    pull = add_command(zoo, "pull", _pull, "take counters from a zoo, so that no run trains them")
    pull.add_argument("zoo", metavar="ZOO", help=PLACE)
    pull.add_argument("--grid", metavar="SOURCE",
                      help="only what this grid needs: a preset or a YAML file (default: all)")
    pull.add_argument("--set", action="append", default=[], metavar="KEY=VALUE",
                      help="change a setting of the grid, as for `crowdbench run`")
    pull.add_argument("--most", default=MOST, type=_bytes, metavar="SIZE",
                      help=f"take no more than this, for instance 500MB (default: {MOST})")
    pull.add_argument("--dry-run", action="store_true",
                      help="list what would be taken, and take nothing")
    add_plugin_flag(pull)

    listing = add_command(zoo, "list", _list, "list the counters of a zoo")
    listing.add_argument("zoo", metavar="ZOO", help=PLACE)
    verify = add_command(zoo, "verify", _verify, "check every file of a zoo against its hash")
    verify.add_argument("zoo", type=Path, metavar="FOLDER", help="the folder of a zoo")
    for command in (push, pull):
        command.add_argument("--store", type=Path, default=STORE,
                             help=f"the folder of trained counters (default: {STORE})")
    for command in (pull, listing, verify):
        command.add_argument("--json", action="store_true", help="print JSON")


def _push(options: argparse.Namespace) -> int:
    from benchmark.utils.human import number, size
    from benchmark.zoo.push import push

    if options.set and not options.half:
        raise UserError("zoo push --set: expected only with --half, which counts the test images")
    records, halving = read_records(options.records), None
    if options.half:
        from benchmark.zoo.half import Halving

        halving = Halving(records, options.store, options.set)
    index, added = push(records, options.store, options.to, halving)
    print(f"{options.to}: {number(added, 'stage')} added; "
          f"{number(len(index.stages), 'stage')}, {size(index.size)}")
    return 0


def _pull(options: argparse.Namespace) -> int:
    from benchmark.utils.human import number, size
    from benchmark.utils.progress import log
    from benchmark.zoo.pull import check_space, index_of, missing, pull
    from benchmark.zoo.sources import source

    if options.set and not options.grid:
        raise UserError("zoo pull --set: expected only with --grid, whose settings it changes")
    place = source(options.zoo)
    index = index_of(place)
    advice = _other_precision(index)  # which refuses a wrong CROWD_PRECISION, before any download
    wanted = _keys(options) if options.grid else None
    stages = missing(index, options.store, wanted)
    if wanted is not None and not wanted & index.stages.keys():
        reason = advice or "expected a zoo of this grid, with the same data and settings"
        raise UserError(f"zoo {options.zoo}: no stage of grid {options.grid}: {reason}")
    if options.dry_run:
        _print(stages, options.json)
        return 0
    check_space(stages, options.store, options.most)
    if stages:
        pull(place, stages, options.store)
    if options.json:
        _print(stages, True)
    else:
        there = len(index.stages if wanted is None else wanted & index.stages.keys()) - len(stages)
        print(f"{options.store}: {number(len(stages), 'stage')} taken, "
              f"{size(sum(stage.size for stage in stages.values()))}; {there} were there before")
    if advice:
        log(f"zoo {options.zoo}: {advice}")
    return 0


def _keys(options: argparse.Namespace) -> set[str]:
    """The keys of all stages of a grid."""
    from benchmark.config.grid import cells
    from benchmark.config.request import load_request, override
    from benchmark.pipeline.graph import StageGraph
    from benchmark.pipeline.store import Store

    graph = StageGraph(Store(options.store))
    grid = cells(override(load_request(options.grid), options.set))
    return {stage.key for cell in grid for stage in graph.stages(cell)}


def _other_precision(index: Any) -> str:
    """Advice for a zoo whose counters all have another precision than this machine; else ''."""
    from benchmark.utils.device import AUTO, REPAIRS, resolve_precision

    own, others = resolve_precision("auto"), {stage.precision for stage in index.stages.values()}
    others -= {None}
    if not others or own in others:
        return ""
    return (f"its counters were trained in {', '.join(sorted(others))}, and this machine trains in "
            f"{own}; to use them, set the environment variables {AUTO}={min(others)} and "
            f"{REPAIRS}={own} for this command and for `crowdbench run`")


def _list(options: argparse.Namespace) -> int:
    from benchmark.zoo.pull import index_of
    from benchmark.zoo.sources import source

    _print(index_of(source(options.zoo)).stages, options.json)
    return 0


def _verify(options: argparse.Namespace) -> int:
    from benchmark.zoo.verify import problems

    wrong = problems(options.zoo)
    if options.json:
        print(json.dumps([{"path": path, "wrong": what} for path, what in wrong]))
    else:
        for path, what in wrong:
            print(f"{path}: {what}")
        print(f"{len(wrong)} problems" if wrong else "every file is as the index says")
    return int(bool(wrong))


def _print(stages: dict[str, Any], as_json: bool) -> None:
    from benchmark.utils.human import number, size

    if as_json:
        print(json.dumps({key: stage.model_dump(mode="json") for key, stage in stages.items()}))
        return
    rows = [{"kind": stage.kind, "key": key, "stage": stage.title, "size": size(stage.size),
             "precision": stage.precision, "initial weights": stage.weights,
             "their licence": stage.licence}
            for key, stage in sorted(stages.items(), key=lambda pair: pair[1].title)]
    if rows:
        print(tabulate(rows, headers="keys", tablefmt="simple") + "\n")
    print(f"{number(len(rows), 'stage')}, {size(sum(stage.size for stage in stages.values()))}")


def _bytes(text: str) -> int:
    """A size such as '500MB' in bytes."""
    from benchmark.utils.human import parse_size

    try:
        return parse_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
