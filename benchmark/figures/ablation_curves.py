"""Curves of an ablation: flip rate, eASR and rho_Acc over one setting, with a line per other."""

import math
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmark.figures.captions import BARS, FLIP_RATE, RHO_ACC, sample
from benchmark.figures.style import COLUMN, MARKERS, STYLE, Picture, add_legend, plain, save
from benchmark.tables.ablation import Ablation, Axis, Grid, as_number
from benchmark.tables.controls import chance_flips

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANELS = {"flip_rate": "flip rate\n(share of images)", "easr": "eASR\n(share above chance)",
          "rho_acc": "$\\rho_{\\mathrm{Acc}}$\n(share of images)"}
REFERENCES = {  # the numbers of the clean counter, which are drawn dashed
    "rho_acc": lambda result: result.numbers.get("reference_rho_acc", math.nan),
    "flip_rate": chance_flips}
UNITS = {"poison_rate": "poison rate (added / original images)"}


def write_curves(ablation: Ablation, folder: Path, source: str = "") -> None:
    """Save the figures of an ablation as FOLDER/ablation-N.png, .pdf and .txt. Raises as `save`.

    source: the last words of the captions.
    """
    for name, grids in ablation.figures.items():
        save(draw_curves(ablation, grids), folder / name, source)


def draw_curves(ablation: Ablation, grids: Sequence[Grid]) -> Picture:
    """A column of panels for each grid: flip rate, eASR and rho_Acc over the rows' setting.

    Each line is a value of the columns' setting, its band the 95% interval over images and seeds.
    The dashed lines are the clean counter's flip rate and rho_Acc. A cell that was not run is a
    gap.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        figure = Figure((COLUMN * max(1, len(grids) / 2), 4.5), layout="constrained")
        panels = figure.subplots(len(PANELS), len(grids), sharex=True, sharey="row", squeeze=False)
        for column, grid in zip(panels.T, grids):
            column[0].set_title(plain(grid.panel))
            for axes, key in zip(column, PANELS):
                _draw_panel(axes, ablation, grid, key)
        for row, label in zip(panels, PANELS.values()):
            row[0].set_ylabel(label)
            lowest = min(axes.dataLim.y0 for axes in row)  # an eASR may be below 0
            row[0].set_ylim(min(-0.02, lowest), 1.02)
        setting = UNITS.get(ablation.rows.key, ablation.rows.name)
        figure.supxlabel(plain(setting), fontsize=STYLE["font.size"])
        add_legend(figure)
    results = [result for grid in grids for result in grid.results.values()]
    return Picture(figure, (
        f"Ablation over {ablation.rows.name} and {ablation.columns.name}. Points are means over "
        f"seeds: {FLIP_RATE}; eASR is the success rate above that of the clean counter, 0 at "
        f"chance and 1 on every image; {RHO_ACC}. Dashed: the clean counter with the same trigger, "
        f"after the same defense. Bands and bars: {BARS}. {sample(results)}"))


def _draw_panel(axes: "Axes", ablation: Ablation, grid: Grid, key: str) -> None:
    from matplotlib import colormaps

    x = _place_ticks(axes, ablation.rows)
    references = []
    values = ablation.columns.values
    colours = colormaps["viridis"](np.linspace(0, 0.85, len(values)))  # distinct in greyscale too
    for value, colour, marker in zip(values, colours, cycle(MARKERS)):
        results = [grid.results.get((row, value)) for row in ablation.rows.values]
        intervals = [result.interval(key) if result else (math.nan, math.nan) for result in results]
        low, high = np.transpose(intervals)
        axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.vlines(x, low, high, color=colour, linewidth=0.5)  # a lone point has no band
        numbers = [result.numbers if result else {} for result in results]
        axes.plot(x, [means.get(key, math.nan) for means in numbers], color=colour, marker=marker,
                  clip_on=False, label=plain(f"{ablation.columns.name} {value}"))
        if key in REFERENCES:
            references.append([REFERENCES[key](result) if result else math.nan
                               for result in results])
    if references:
        _draw_references(axes, x, references, colours)


def _draw_references(axes: "Axes", x: list[float], means: list[list[float]],
                     colours: np.ndarray) -> None:
    """The clean counter: one line, or one in each colour if the columns' setting changes it too."""
    low, high = np.fmin.reduce(means), np.fmax.reduce(means)  # these ignore nan
    same = np.array_equal(low, high, equal_nan=True)
    for mean, colour in [(low, "black")] if same else zip(means, colours):
        axes.plot(x, mean, "--", color=colour, marker="_")
    axes.lines[-1].set_label("clean counter")


def _place_ticks(axes: "Axes", axis: Axis) -> list[float]:
    """Set the ticks of a setting and return the position of each value.

    Numbers are placed by size, on a logarithmic scale if they span a factor of 10 or more; text is
    placed in order.
    """
    x = [as_number(value) for value in axis.values]
    if any(map(math.isnan, x)):
        x = [float(place) for place in range(len(x))]
    elif 0 < 10 * x[0] <= x[-1]:
        axes.set_xscale("log")
    axes.set_xticks(x, [plain(value) for value in axis.values])
    axes.set_xticks([], minor=True)
    return x
