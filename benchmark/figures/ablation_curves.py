"""Curves of an ablation."""

import math
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmark.figures.style import COLUMN, LETTERS, STYLE, plain, save
from benchmark.tables.ablation import Ablation, Axis, Grid, as_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANELS = {"flip_rate": "flip rate\n(share of images)", "easr": "eASR\n(share above chance)",
          "rho_acc": "$\\rho_{\\mathrm{Acc}}$\n(share of images)"}
UNITS = {"poison_rate": "poison rate (added / original images)"}


def write_curves(found: Ablation, folder: Path) -> None:
    """Draw the figures of an ablation to folder/ablation-N.{png,pdf}, each file whole or not at all. Raises OSError."""
    from matplotlib import rc_context

    for name, grids in found.figures.items():
        with rc_context(STYLE):
            figure = draw_curves(found, grids)
        save(figure, folder / name)


def draw_curves(found: Ablation, grids: Sequence[Grid]) -> "Figure":
    """A column of panels per grid: flip rate, eASR and rho_Acc over the rows' setting.

    A line is a value of the columns' setting, its band the 95% interval over images and seeds; dashed is the clean
    counter. A cell that was not run is a gap.
    """
    from matplotlib.figure import Figure

    figure = Figure((COLUMN * max(1, len(grids) / 2), 4.5), layout="constrained")
    panels = figure.subplots(len(PANELS), len(grids), sharex=True, sharey="row", squeeze=False)
    for column, grid in zip(panels.T, grids):
        column[0].set_title(plain(grid.panel))
        for axes, key in zip(column, PANELS):
            _draw_panel(axes, found, grid, key)
    for row, label in zip(panels, PANELS.values()):
        row[0].set_ylabel(label)
        row[0].set_ylim(min(-0.02, *(axes.dataLim.y0 for axes in row)), 1.02)  # an eASR may be below 0
    figure.supxlabel(plain(UNITS.get(found.rows.key, found.rows.name)), fontsize=STYLE["font.size"])
    handles, labels = panels[-1, 0].get_legend_handles_labels()
    room = int(LETTERS * figure.get_figwidth()) // (6 + max(map(len, labels)))  # 6 for the line and the space after it
    figure.legend(handles, labels, loc="outside upper center", ncols=max(1, room))
    return figure


def _draw_panel(axes: "Axes", found: Ablation, grid: Grid, key: str) -> None:
    from matplotlib import colormaps

    x, references = _place_ticks(axes, found.rows), []
    colours = colormaps["viridis"](np.linspace(0, 0.85, len(found.columns.values)))  # also told apart as greys
    for column, colour, marker in zip(found.columns.values, colours, cycle("os^Dv<>P")):
        results = [grid.results.get((row, column)) for row in found.rows.values]
        low, high = np.transpose([result.interval(key) if result else (math.nan, math.nan) for result in results])
        axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.vlines(x, low, high, color=colour, linewidth=0.5)  # a point without a neighbour has no band
        means = [result.numbers if result else {} for result in results]
        axes.plot(x, [mean.get(key, math.nan) for mean in means], color=colour, marker=marker, clip_on=False,
                  label=plain(f"{found.columns.name} {column}"))
        references.append([mean.get("reference_rho_acc", math.nan) for mean in means])
    if key == "rho_acc":
        _draw_references(axes, x, references, colours)


def _draw_references(axes: "Axes", x: list[float], means: list[list[float]], colours: np.ndarray) -> None:
    """The clean counter: one line, or one in each colour where it depends on the columns' setting too."""
    low, high = np.fmin.reduce(means), np.fmax.reduce(means)  # of those that are there
    same = np.array_equal(low, high, equal_nan=True)
    for mean, colour in [(low, "black")] if same else zip(means, colours):
        axes.plot(x, mean, "--", color=colour, marker="_")
    axes.lines[-1].set_label("clean counter")


def _place_ticks(axes: "Axes", axis: Axis) -> list[float]:
    """Where the values of a setting stand: by size, on a logarithmic scale from a factor of 10 on; text in order."""
    x = [as_number(value) for value in axis.values]
    if any(map(math.isnan, x)):
        x = [float(place) for place in range(len(x))]
    elif 0 < 10 * x[0] <= x[-1]:
        axes.set_xscale("log")
    axes.set_xticks(x, [plain(value) for value in axis.values])
    axes.set_xticks([], minor=True)
    return x
