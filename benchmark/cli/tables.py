"""Commands that print tables of records."""

import argparse
import itertools
import json
import sys
from pathlib import Path
from typing import Any

from benchmark.cli.options import (add_command, add_group, add_record_options, print_rows,
                                   print_table, publish, read_records, terminal_width)


def add(commands: Any) -> None:
    """Add leaderboard, compare, ablation, findings and audit paper."""
    command = add_command(commands, "leaderboard", _leaderboard,
                          "print and write the tables of records")
    command.add_argument("--out", type=Path,
                         help="the folder to write the tables and the page leaderboard.html to")
    add_record_options(command)

    command = add_command(commands, "compare", _compare,
                          "compare one defense, or one attack, with every other, "
                          "with the significance of each difference")
    command.add_argument("subject",
                         help="a defense of the records, an attack as TRIGGER/TARGET, or the "
                              "folder of a leaderboard entry")
    command.add_argument("--out", type=Path,
                         help="the folder to write the tables to, with all their columns")
    add_record_options(command)

    command = add_command(commands, "ablation", _ablation,
                          "print and write tables and curves of two settings "
                          "that vary over records")
    for flag, setting in (("rows", "poison_rate"), ("columns", "alpha")):
        command.add_argument(f"--{flag}", default=setting, metavar="SETTING",
                             help=f"the setting of the {flag} (default: {setting})")
    command.add_argument("--out", type=Path,
                         help="the folder to write to "
                              "(default: ablation, beside the first records)")
    add_record_options(command)

    command = add_command(commands, "findings", _findings,
                          "answer the paper's questions from records, as a page")
    command.add_argument("records", nargs="+", type=Path,
                         help="record files, or folders that hold them")

    audit = add_group(commands, "audit", "check the paper's tables (for a counter: "
                                         "crowdbench run audit)", "WHAT")
    command = add_command(audit, "paper", _audit_paper,
                          "check the paper's tables against each other and against its text, "
                          "with the arithmetic")
    command.add_argument("--json", action="store_true", help="print JSON")


def _leaderboard(options: argparse.Namespace) -> int:
    from benchmark.leaderboard.load import read_record_files

    publish(read_record_files(options.records), options.out, options.json)
    return 0


def _compare(options: argparse.Namespace) -> int:
    from benchmark.leaderboard.load import read_manifest
    from benchmark.leaderboard.manifest import FILE
    from benchmark.leaderboard.report import compare, write_tables
    from benchmark.leaderboard.terminal_report import comparison_report
    from benchmark.tables.verdicts import win_table

    subject, paths = options.subject, options.records
    entry = Path(subject)
    if (entry / FILE).is_file():
        subject, paths = read_manifest(entry).subject, [entry, *paths]
    table = compare(read_records(paths), subject)
    over = "defense" if "/" in subject else "attack"
    if options.out:
        wins = win_table(table.frame.to_dict("records"), over)
        write_tables([table, *([wins] if len(wins.frame) else [])], options.out)
    if options.json:
        print_rows(table)
    else:
        print(comparison_report(table, terminal_width(), over))
    return 0


def _ablation(options: argparse.Namespace) -> int:
    from benchmark.figures.ablation_curves import write_curves
    from benchmark.figures.captions import source
    from benchmark.tables.ablation import ablation, tables, tidy, write

    records = read_records(options.records)
    found = ablation(records, options.rows, options.columns)
    out = options.out or options.records[0].parent / "ablation"
    write(found, out)
    write_curves(found, out, source(options.records, len(records)))
    if options.json:
        print(tidy(found).to_json(orient="records"))
    else:
        for table in itertools.chain(*tables(found).values()):
            print_table(table)
    print(f"tables and curves: {out}", file=sys.stderr)
    return 0


def _findings(options: argparse.Namespace) -> int:
    from benchmark.paper.findings import findings

    print(findings(read_records(options.records)), end="")
    return 0


def _audit_paper(options: argparse.Namespace) -> int:
    from benchmark.paper.audit import audit

    report = audit()
    print(json.dumps(report.to_dict()) if options.json else report.text())
    return 0
