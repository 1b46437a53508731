"""Verbs that draw pictures."""

import argparse
from pathlib import Path
from typing import Any

from benchmark.commands.common import group, plugin, read, verb


def add(verbs: Any) -> None:
    """figure triggers, defenses, kde, scatter."""
    figure = group(verbs, "figure", "draw pictures", "FIGURE")
    command = verb(figure, "triggers", _figure_triggers, "every trigger on a drawn scene, with its equation and PSNR")
    command.add_argument("--out", type=Path, default=Path("docs/triggers.md"),
                         help="the page to write; pictures lie beside it (default: docs/triggers.md)")
    plugin(command)

    command = verb(figure, "defenses", _figure_defenses,
                   "flip rate over accuracy: a letter per defense, a panel per attack")
    command.add_argument("--out", type=Path, default=Path("defenses"),
                         help="where to write, without the .png and .pdf that are added (default: defenses)")
    command.add_argument("records", nargs="+", type=Path, help="record files, or folders that hold them")

    for name, text in (("kde", "densities of r = count / truth before and after a defense, as in the paper"),
                       ("scatter", "counts over true counts before and after a defense")):
        command = verb(figure, name, _figure_of_counts, text)
        command.set_defaults(kind=name)
        command.add_argument("--defense", default="fine_tune", help="a defense (default: fine_tune, the paper's)")
        command.add_argument("--out", type=Path, help="where to write, without the .png and .pdf that are added "
                             f"(default: {name}-DEFENSE)")
        command.add_argument("records", nargs="+", type=Path, help="record files, or folders that hold them")


def _figure_triggers(options: argparse.Namespace) -> int:
    from benchmark.figures import write_triggers

    write_triggers(options.out)
    print(options.out)
    return 0


def _figure_defenses(options: argparse.Namespace) -> int:
    from benchmark.figures import write_defenses
    from benchmark.leaderboard.cells import scenarios

    write_defenses(scenarios(read(options.records)), options.out)
    print(f"{options.out}.png\n{options.out}.pdf")
    return 0


def _figure_of_counts(options: argparse.Namespace) -> int:
    from benchmark import figures_of_counts
    from benchmark.leaderboard.cells import scenarios

    out = options.out or Path(f"{options.kind}-{options.defense}")
    write = {"kde": figures_of_counts.write_kde, "scatter": figures_of_counts.write_scatter}[options.kind]
    write(scenarios(read(options.records)), options.defense, out)
    print(f"{out}.png\n{out}.pdf")
    return 0
