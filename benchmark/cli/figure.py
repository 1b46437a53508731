"""Commands that draw pictures."""

import argparse
from pathlib import Path
from typing import Any

from benchmark.cli.options import (add_command, add_grid_options, add_group, add_plugin_flag,
                                   equivalent_command, read_records, request_from_flags)


def add(commands: Any) -> None:
    """Add the commands `figure triggers`, `figure defenses` and the others."""
    figure = add_group(commands, "figure", "draw pictures", "FIGURE")
    command = add_command(figure, "triggers", _figure_triggers,
                          "draw every trigger on a generated scene, with its equation and PSNR")
    command.add_argument("--out", type=Path, default=Path("docs/triggers.md"),
                         help="the page to write, with the pictures beside it "
                              "(default: docs/triggers.md)")
    add_plugin_flag(command)

    command = add_command(figure, "defenses", _figure_defenses,
                          "draw flip rate over accuracy: "
                          "a letter for each defense, a panel for each attack")
    _add_out(command, "defenses")
    command.add_argument("records", nargs="+", type=Path,
                         help="record files, or folders that hold them")

    command = add_command(figure, "frontier", _figure_frontier,
                          "draw flip rate over accuracy along the strengths of each repair")
    _add_out(command, "frontier")
    command.add_argument("records", nargs="+", type=Path,
                         help="record files, or folders that hold them")

    command = add_command(figure, "curves", _figure_curves,
                          "draw the validation bias and MAE of each training, epoch by epoch")
    _add_out(command, "curves")
    command.add_argument("records", nargs="+", type=Path,
                         help="record files, or folders that hold them")

    for name, text in (("kde", "draw densities of r = count / truth before and after a defense, "
                               "as in the paper"),
                       ("scatter", "draw counts over true counts before and after a defense")):
        command = add_command(figure, name, _figure_of_counts, text)
        command.set_defaults(kind=name)
        command.add_argument("--defense", default="fine_tune",
                             help="a defense (default: fine_tune, the paper's)")
        _add_out(command, f"{name}-DEFENSE")
        command.add_argument("records", nargs="+", type=Path,
                             help="record files, or folders that hold them")

    command = add_command(figure, "poisoning", _figure_poisoning,
                          "draw a training image before and after each attack of a grid poisons it")
    command.add_argument("--image", metavar="ID",
                         help="a training image (default: the one with the median count)")
    _add_out(command, "poisoning")
    add_grid_options(command, "defense")

    for name, text in (("maps", "draw density maps of a grid's victims before and after a defense"),
                       ("gradcam", "draw Grad-CAM maps of a grid's victims "
                                   "before and after a defense")):
        command = add_command(figure, name, _figure_of_counters, text)
        command.set_defaults(kind=name)
        command.add_argument("--defense", dest="shown", default="fine_tune",
                             help="a defense, with the grid's settings or else its defaults "
                                  "(default: fine_tune)")
        command.add_argument("--image", metavar="ID",
                             help="a validation image (default: the one with the median count)")
        _add_out(command, f"{name}-DEFENSE")
        add_grid_options(command, "defense")


def _add_out(command: argparse.ArgumentParser, default: str) -> None:
    command.add_argument("--out", type=Path,
                         help="the file to write; .png and .pdf are added to the name "
                              f"(default: {default})")


def _figure_triggers(options: argparse.Namespace) -> int:
    from benchmark.figures.trigger_gallery import write_triggers

    write_triggers(options.out)
    print(options.out)
    return 0


def _figure_defenses(options: argparse.Namespace) -> int:
    from benchmark.figures.defense_scatter import draw_defenses
    from benchmark.results.scenarios import scenarios

    figure = draw_defenses(scenarios(read_records(options.records)))
    return _save(figure, options.out or Path("defenses"))


def _figure_frontier(options: argparse.Namespace) -> int:
    from benchmark.figures.frontier import draw_frontiers
    from benchmark.results.scenarios import scenarios

    return _save(draw_frontiers(scenarios(read_records(options.records))),
                 options.out or Path("frontier"))


def _figure_curves(options: argparse.Namespace) -> int:
    from benchmark.figures.training_curves import draw_training_curves
    from benchmark.results.scenarios import scenarios

    return _save(draw_training_curves(scenarios(read_records(options.records))),
                 options.out or Path("curves"))


def _figure_of_counts(options: argparse.Namespace) -> int:
    from benchmark.figures import count_plots
    from benchmark.results.scenarios import scenarios

    draw = {"kde": count_plots.draw_kde, "scatter": count_plots.draw_scatter}[options.kind]
    figure = draw(scenarios(read_records(options.records)), options.defense)
    return _save(figure, options.out or Path(f"{options.kind}-{options.defense}"))


def _figure_poisoning(options: argparse.Namespace) -> int:
    from benchmark.config.grid import cells
    from benchmark.figures.poisoning import draw_poisoning
    from benchmark.pipeline.graph import StageGraph
    from benchmark.pipeline.store import Store

    grid = cells(request_from_flags(options))
    graph = StageGraph(Store(options.store))
    figure = draw_poisoning(graph, grid, options.image, equivalent_command(options))
    return _save(figure, options.out or Path("poisoning"))


def _figure_of_counters(options: argparse.Namespace) -> int:
    from benchmark.config.grid import cells
    from benchmark.figures import counter_maps
    from benchmark.figures.before_after import before_after_pairs
    from benchmark.pipeline.graph import StageGraph
    from benchmark.pipeline.store import Store

    grid = cells(request_from_flags(options))
    if options.shown not in {cell.defense.name for cell in grid}:
        options.defense = options.shown  # as `run --defense` adds it
        grid = cells(request_from_flags(options))
    draw = {"maps": counter_maps.draw_maps, "gradcam": counter_maps.draw_gradcam}[options.kind]
    pairs = before_after_pairs(StageGraph(Store(options.store)), grid, options.shown, options.image,
                               equivalent_command(options))
    return _save(draw(pairs), options.out or Path(f"{options.kind}-{options.shown}"))


def _save(figure: Any, out: Path) -> int:
    """Save a figure and print the names of its files."""
    from benchmark.figures.style import save

    save(figure, out)
    print(f"{out}.png\n{out}.pdf")
    return 0
