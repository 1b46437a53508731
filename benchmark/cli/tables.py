"""Verbs that make tables of records."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from benchmark.cli.options import group, publish, read, records, verb


def add(verbs: Any) -> None:
    """leaderboard, compare, ablation, findings, audit paper."""
    command = verb(verbs, "leaderboard", _leaderboard, "print and write the tables of records")
    command.add_argument("--out", type=Path, help="folder to write the tables and a page, leaderboard.html, to")
    records(command)

    command = verb(verbs, "compare", _compare,
                   "print what one defense does better and worse than every other, and the odds")
    command.add_argument("defense", help="a defense that the records hold, or the folder of an entry")
    records(command)

    command = verb(verbs, "ablation", _ablation,
                   "print and write tables and curves of two settings that vary over records")
    for flag, setting in (("rows", "poison_rate"), ("columns", "alpha")):
        command.add_argument(f"--{flag}", default=setting, metavar="SETTING", help=f"one setting (default: {setting})")
    command.add_argument("--out", type=Path, help="folder to write to (default: ablation, beside the first records)")
    records(command)

    command = verb(verbs, "findings", _findings, "print a page on the paper's questions, answered by records")
    command.add_argument("records", nargs="+", type=Path, help="record files, or folders that hold them")

    command = verb(group(verbs, "audit", "recompute what others published", "WHAT"), "paper", _audit_paper,
                   "the paper's tables against each other and its text, with the arithmetic")
    command.add_argument("--json", action="store_true", help="print JSON")


def _leaderboard(options: argparse.Namespace) -> int:
    from benchmark.leaderboard.load import collect

    publish(collect(options.records), options.out, options.json)
    return 0


def _compare(options: argparse.Namespace) -> int:
    from benchmark.leaderboard.load import manifest
    from benchmark.leaderboard.manifest import FILE
    from benchmark.leaderboard.report import compare
    from benchmark.tables.formats import markdown

    defense, given = options.defense, options.records
    if (Path(defense) / FILE).is_file():
        defense, given = manifest(Path(defense)).defense.name, [Path(defense), *given]
    table = compare(read(given), defense)
    print(table.frame.to_json(orient="records") if options.json else markdown(table))
    return 0


def _ablation(options: argparse.Namespace) -> int:
    from benchmark.figures.ablation_curves import write_curves
    from benchmark.tables.ablation import ablation, show, tidy, write

    found = ablation(read(options.records), options.rows, options.columns)
    out = options.out or options.records[0].parent / "ablation"
    write(found, out)
    write_curves(found, out)
    print(tidy(found).to_json(orient="records") if options.json else show(found))
    print(f"tables and curves: {out}", file=sys.stderr)
    return 0


def _findings(options: argparse.Namespace) -> int:
    from benchmark.paper.findings import findings

    print(findings(read(options.records)), end="")
    return 0


def _audit_paper(options: argparse.Namespace) -> int:
    from benchmark.paper.audit import audit

    found = audit()
    print(json.dumps(found.to_dict()) if options.json else found.text())
    return 0
