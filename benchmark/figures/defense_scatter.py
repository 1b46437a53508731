"""Scatter of defenses: flip rate over accuracy, each repair with its name."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from benchmark.figures.captions import BARS, FLIP_RATE, RHO_ACC, sample
from benchmark.figures.labels import place_labels
from benchmark.figures.style import (COLUMN, DEFENDED, STYLE, Picture, add_legend, draw_bars,
                                     plain)
from benchmark.figures.trade_off import (Named, attacked, draw_references, markers, name_axes,
                                         named_repairs, point)
from benchmark.results.scenarios import Scenario
from benchmark.utils.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEIGHTS = (2.4, 3.2, 4.0)  # inches of a panel that are tried until each label has a free place


def draw_defenses(scenarios: Sequence[Scenario]) -> Picture:
    """A panel for each attack: flip rate over rho_Acc, a named point for each repair.

    The undefended victim and the controls have markers of their own, which the legend names. Bars
    are 95% intervals of the flip rate. Panels are as high as their labels need.

    Raises:
        UserError: no victim among the records, or more repairs than labels can be placed for.
    """
    victims = attacked(scenarios)
    if not victims:
        raise UserError("figure defenses: no record of a victim; expected records with an attack")
    groups = named_repairs(list(victims.values()))
    for height in HEIGHTS:
        figure, fits = _draw(list(victims), groups, height)
        if fits:
            return Picture(figure, _caption(groups))
    most = max(len(group) for group in groups)
    raise UserError(f"figure defenses: the labels of {most} defenses of one attack do not fit "
                    "beside each other; expected records of fewer defenses")


def _draw(titles: Sequence[str], groups: Sequence[Named], height: float) -> tuple["Figure", bool]:
    """The figure with panels of this height in inches, and whether all labels have a place."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    shapes = markers(groups)
    across = min(2, len(groups))
    rows = math.ceil(len(groups) / across)
    with rc_context(STYLE):
        figure = Figure((across * COLUMN, 0.6 + height * rows), layout="constrained")
        panels = figure.subplots(rows, across, sharex=True, sharey=True, squeeze=False).flat
        for title, group, axes in zip(titles, groups, panels):
            axes.set_title(plain(title))
            draw_references(axes, group, shapes)
            _draw_repairs(axes, [(name, result) for name, result in group if name not in shapes])
        for axes in panels:  # the iterator holds only the panel that an odd number leaves empty
            axes.set_axis_off()
        figure.axes[0].margins(x=0.1)
        name_axes(figure)
        add_legend(figure)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # labels are placed in the final layout
        fits = True
        for group, axes in zip(groups, figure.axes):
            labels = [(*point(result), name) for name, result in group if name not in shapes]
            others = [point(result) for name, result in group if name in shapes]
            fits = place_labels(axes, labels, others) and fits
    return figure, fits


def _draw_repairs(axes: "Axes", repairs: Named) -> None:
    if repairs:
        x, y = zip(*(point(result) for _, result in repairs))
        draw_bars(axes, x, [result.interval("flip_rate") for _, result in repairs], DEFENDED)
        axes.plot(x, y, "o", color=DEFENDED, markersize=3, label="repair")


def _caption(groups: Sequence[Named]) -> str:
    results = [result for group in groups for _, result in group]
    return (f"Defenses on {len(groups)} {'attack' if len(groups) == 1 else 'attacks'}: flip rate "
            f"over rho_Acc of each repair and control. A good repair lies in the lower right. "
            f"Points are means over seeds: {FLIP_RATE}; {RHO_ACC}. Vertical bars: {BARS}, of the "
            f"flip rate. {sample(results)}")
