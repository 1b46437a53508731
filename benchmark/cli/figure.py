"""Verbs that draw pictures."""

import argparse
from pathlib import Path
from typing import Any

from benchmark.cli.options import equivalent_command, grid_of, group, plugin, read, request_from_flags, verb


def add(verbs: Any) -> None:
    """figure triggers, defenses, kde, scatter, poisoning, maps, gradcam."""
    figure = group(verbs, "figure", "draw pictures", "FIGURE")
    command = verb(figure, "triggers", _figure_triggers, "every trigger on a drawn scene, with its equation and PSNR")
    command.add_argument("--out", type=Path, default=Path("docs/triggers.md"),
                         help="the page to write; pictures lie beside it (default: docs/triggers.md)")
    plugin(command)

    command = verb(figure, "defenses", _figure_defenses,
                   "flip rate over accuracy: a letter per defense, a panel per attack")
    _out(command, "defenses")
    command.add_argument("records", nargs="+", type=Path, help="record files, or folders that hold them")

    for name, text in (("kde", "densities of r = count / truth before and after a defense, as in the paper"),
                       ("scatter", "counts over true counts before and after a defense")):
        command = verb(figure, name, _figure_of_counts, text)
        command.set_defaults(kind=name)
        command.add_argument("--defense", default="fine_tune", help="a defense (default: fine_tune, the paper's)")
        _out(command, f"{name}-DEFENSE")
        command.add_argument("records", nargs="+", type=Path, help="record files, or folders that hold them")

    command = verb(figure, "poisoning", _figure_poisoning, "what each attack of a grid makes of a training image")
    command.add_argument("--image", metavar="ID", help="a training image (default: the one with the median count)")
    _out(command, "poisoning")
    grid_of(command, "defense")

    for name, text in (("maps", "density maps of a grid's victims, and of what a defense made of them"),
                       ("gradcam", "Grad-CAM of a grid's victims, and of what a defense made of them")):
        command = verb(figure, name, _figure_of_counters, text)
        command.set_defaults(kind=name)
        command.add_argument("--defense", dest="shown", default="fine_tune",
                             help="a defense, as in the grid or else at its defaults (default: fine_tune)")
        command.add_argument("--image", metavar="ID", help="a validation image (default: that with the median count)")
        _out(command, f"{name}-DEFENSE")
        grid_of(command, "defense")


def _out(command: argparse.ArgumentParser, default: str) -> None:
    command.add_argument("--out", type=Path, help="where to write, without the .png and .pdf that are added "
                         f"(default: {default})")


def _figure_triggers(options: argparse.Namespace) -> int:
    from benchmark.figures.trigger_gallery import write_triggers

    write_triggers(options.out)
    print(options.out)
    return 0


def _figure_defenses(options: argparse.Namespace) -> int:
    from benchmark.figures.defense_scatter import write_defenses
    from benchmark.results.scenarios import scenarios

    out = options.out or Path("defenses")
    write_defenses(scenarios(read(options.records)), out)
    return _told(out)


def _figure_of_counts(options: argparse.Namespace) -> int:
    from benchmark.figures import count_plots
    from benchmark.results.scenarios import scenarios

    out = options.out or Path(f"{options.kind}-{options.defense}")
    write = {"kde": count_plots.write_kde, "scatter": count_plots.write_scatter}[options.kind]
    write(scenarios(read(options.records)), options.defense, out)
    return _told(out)


def _figure_poisoning(options: argparse.Namespace) -> int:
    from benchmark.config import grid
    from benchmark.figures.poisoning import write_poisoning
    from benchmark.pipeline.graph import StageGraph
    from benchmark.pipeline.store import Store

    cells, graph = grid.cells(request_from_flags(options)), StageGraph(Store(options.store))
    out = options.out or Path("poisoning")
    write_poisoning(graph, cells, options.image, equivalent_command(options), out)
    return _told(out)


def _figure_of_counters(options: argparse.Namespace) -> int:
    from benchmark.config import grid
    from benchmark.figures import counter_maps
    from benchmark.figures.before_after import before_after_pairs
    from benchmark.pipeline.graph import StageGraph
    from benchmark.pipeline.store import Store

    cells = grid.cells(request_from_flags(options))
    if options.shown not in {cell.defense.name for cell in cells}:
        options.defense = options.shown  # as `run --defense` adds it
        cells = grid.cells(request_from_flags(options))
    out = options.out or Path(f"{options.kind}-{options.shown}")
    write = {"maps": counter_maps.write_maps, "gradcam": counter_maps.write_gradcam}[options.kind]
    write(before_after_pairs(StageGraph(Store(options.store)), cells, options.shown, options.image, equivalent_command(options)), out)
    return _told(out)


def _told(out: Path) -> int:
    print(f"{out}.png\n{out}.pdf")
    return 0
