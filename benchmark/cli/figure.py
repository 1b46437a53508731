"""Commands that draw pictures, each with its caption."""

import argparse
from pathlib import Path
from typing import Any

from benchmark.cli.options import (add_command, add_grid_options, add_group, add_plugin_flag,
                                   equivalent_command, read_records, request_from_flags)

OF_RECORDS = {  # figures of whole folders of records, and what each shows
    "defenses": "draw the flip rate and rho_Acc after each defense: a row for each, "
                "a panel for each attack",
    "frontier": "draw the flip rate against rho_Acc along the strengths of each repair",
    "growth": "draw how attacks grow with alpha, poison rate and epochs, "
              "beside the clean counter",
    "strength": "draw the flips that are left as the trigger on the test images gets weaker, "
                "after each defense",
    "suspicions": "draw how suspicious detectors of counters find each victim, "
                  "beside the clean counters",
    "curves": "draw the validation bias and MAE of each training, epoch by epoch"}
OF_COUNTS = {  # figures of the counts per image, before and after a defense
    "kde": "draw densities of r = count / truth before and after a defense, as in the paper",
    "scatter": "draw counts against true counts before and after a defense",
    "reliability": "draw count / truth in bins of the truth before and after a defense: "
                   "is the count calibrated?"}

INSIDE = {  # figures of what a trigger does inside the counters of a grid
    "channels": "draw how far the trigger moves each channel, against its Lipschitz bound, "
                "beside the clean counter",
    "features": "draw the features of clean and triggered images on two principal components, "
                "beside the clean counter"}


def add(commands: Any) -> None:
    """Add the commands `figure triggers`, `figure defenses` and the others."""
    figure = add_group(commands, "figure", "draw pictures", "FIGURE")
    command = add_command(figure, "triggers", _figure_triggers,
                          "draw every trigger on a generated scene, with its equation and PSNR")
    command.add_argument("--out", type=Path, default=Path("docs/triggers.md"),
                         help="the page to write, with the pictures beside it "
                              "(default: docs/triggers.md)")
    add_plugin_flag(command)

    command = add_command(figure, "trigger-panel", _figure_trigger_panel,
                          "draw all triggers on one image as one figure, with the PSNR of each")
    _add_out(command, "trigger-panel")
    add_plugin_flag(command)

    for name, text in OF_RECORDS.items():
        command = add_command(figure, name, _figure_of_records, text)
        command.set_defaults(kind=name)
        _add_out(command, name)
        _add_records(command)

    for name, text in OF_COUNTS.items():
        command = add_command(figure, name, _figure_of_counts, text)
        command.set_defaults(kind=name)
        command.add_argument("--defense", default="fine_tune",
                             help="a defense (default: fine_tune, the paper's)")
        _add_out(command, f"{name}-DEFENSE")
        _add_records(command)

    command = add_command(figure, "poisoning", _figure_poisoning,
                          "draw a training image before and after each attack of a grid poisons it")
    command.add_argument("--image", metavar="ID",
                         help="a training image (default: the one with the median count)")
    _add_out(command, "poisoning")
    add_grid_options(command, "defense")
    _add_of_counters(figure)


def _add_of_counters(figure: Any) -> None:
    """Add the figures that need the trained counters of a grid."""
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

    for name, text in INSIDE.items():
        command = add_command(figure, name, _figure_of_insides, text)
        command.set_defaults(kind=name)
        command.add_argument("--defense", dest="shown", default="none",
                             help="a defense whose counter is shown as well, with the grid's "
                                  "settings or else its defaults (default: none)")
        _add_out(command, f"{name}, or {name}-DEFENSE", ", for the numbers, .csv")
        add_grid_options(command, "defense")


def _add_out(command: argparse.ArgumentParser, default: str, more: str = "") -> None:
    """Add the flag for the files of a picture. more: what it writes besides those of all."""
    command.add_argument("--out", type=_files,
                         help=f"the files to write; .png, .pdf{more} and, for the caption, .txt "
                              f"are added to the name (default: {default})")


def _files(text: str) -> Path:
    """The path of a picture's files without their endings."""
    name = text.rpartition("/")[2]
    if name in ("", ".", ".."):
        raise argparse.ArgumentTypeError(f"{text!r}: expected a name that .png and .pdf are added "
                                         "to, for instance figures/mine")
    return Path(text)


def _add_records(command: argparse.ArgumentParser) -> None:
    command.add_argument("records", nargs="+", type=Path,
                         help="record files, or folders that hold them")


def _figure_triggers(options: argparse.Namespace) -> int:
    from benchmark.figures.trigger_gallery import write_triggers

    write_triggers(options.out)
    print(options.out)
    return 0


def _figure_trigger_panel(options: argparse.Namespace) -> int:
    from benchmark.figures.trigger_panel import draw_trigger_panel

    return _save(draw_trigger_panel(), options.out or Path("trigger-panel"))


def _figure_of_records(options: argparse.Namespace) -> int:
    from benchmark.figures.captions import source
    from benchmark.figures.defense_rows import draw_defenses
    from benchmark.figures.frontier import draw_frontiers
    from benchmark.figures.growth import draw_growth
    from benchmark.figures.strength import draw_strengths
    from benchmark.figures.suspicions import draw_suspicions
    from benchmark.figures.training_curves import draw_training_curves
    from benchmark.results.scenarios import scenarios

    draw = {"defenses": draw_defenses, "frontier": draw_frontiers, "growth": draw_growth,
            "strength": draw_strengths, "suspicions": draw_suspicions,
            "curves": draw_training_curves}[options.kind]
    records = read_records(options.records)
    return _save(draw(scenarios(records)), options.out or Path(options.kind),
                 source(options.records, len(records)))


def _figure_of_counts(options: argparse.Namespace) -> int:
    from benchmark.figures.captions import source
    from benchmark.figures.count_plots import draw_kde, draw_scatter
    from benchmark.figures.reliability import draw_reliability
    from benchmark.results.scenarios import scenarios

    draw = {"kde": draw_kde, "scatter": draw_scatter, "reliability": draw_reliability}[options.kind]
    records = read_records(options.records)
    picture = draw(scenarios(records), options.defense)
    return _save(picture, options.out or Path(f"{options.kind}-{options.defense}"),
                 source(options.records, len(records)))


def _figure_poisoning(options: argparse.Namespace) -> int:
    from benchmark.config.grid import cells
    from benchmark.figures.poisoning import draw_poisoning
    from benchmark.pipeline.graph import StageGraph
    from benchmark.pipeline.store import Store

    grid = cells(request_from_flags(options))
    graph = StageGraph(Store(options.store))
    picture = draw_poisoning(graph, grid, options.image, equivalent_command(options))
    return _save(picture, options.out or Path("poisoning"), _grid(options))


def _figure_of_counters(options: argparse.Namespace) -> int:
    from benchmark.figures import counter_maps
    from benchmark.figures.before_after import before_after_pairs
    from benchmark.pipeline.graph import StageGraph
    from benchmark.pipeline.store import Store

    grid = _grid_with_shown(options)
    draw = {"maps": counter_maps.draw_maps, "gradcam": counter_maps.draw_gradcam}[options.kind]
    pairs = before_after_pairs(StageGraph(Store(options.store)), grid, options.shown, options.image,
                               equivalent_command(options))
    return _save(draw(pairs), options.out or Path(f"{options.kind}-{options.shown}"),
                 _grid(options))


def _figure_of_insides(options: argparse.Namespace) -> int:
    from benchmark.figures import channels, features
    from benchmark.figures.inside import NO_DEFENSE, subjects
    from benchmark.pipeline.graph import StageGraph
    from benchmark.pipeline.store import Store

    grid = _grid_with_shown(options)
    draw, least = {"channels": (channels.draw_channels, 1),
                   "features": (features.draw_features, features.LEAST)}[options.kind]
    shown = subjects(StageGraph(Store(options.store)), grid, options.shown,
                     equivalent_command(options), least)
    ending = "" if options.shown == NO_DEFENSE else f"-{options.shown}"
    return _save(draw(shown), options.out or Path(f"{options.kind}{ending}"), _grid(options))


def _grid_with_shown(options: argparse.Namespace) -> list[Any]:
    """The cells of a grid with the defense that is shown, which is added if the grid lacks it."""
    from benchmark.config.grid import cells

    grid = cells(request_from_flags(options))
    if options.shown not in {cell.defense.name for cell in grid}:
        options.defense = options.shown  # as `run --defense` adds it
        grid = cells(request_from_flags(options))
    return grid


def _grid(options: argparse.Namespace) -> str:
    """The sentence of a caption that says how the shown counters can be made again."""
    return f"Grid: `{equivalent_command(options)}`."


def _save(picture: Any, out: Path, source: str = "") -> int:
    """Save a picture and print the names of its files. source: the last words of its caption."""
    from benchmark.figures.style import save

    print(*save(picture, out, source), sep="\n")
    return 0
