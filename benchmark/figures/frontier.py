"""Frontiers: flip rate over accuracy along the strengths of each repair."""

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from benchmark.figures.captions import BARS, FLIP_RATE, RHO_ACC, sample
from benchmark.figures.style import (COLUMN, DEFENDED, ORANGE, STYLE, Picture, add_legend,
                                     draw_bars, plain)
from benchmark.figures.trade_off import (attacked, draw_references, markers, name_axes,
                                         named_repairs, point)
from benchmark.results.controls import CONTROLS
from benchmark.results.record import Record
from benchmark.results.result import Result
from benchmark.results.scenarios import Scenario
from benchmark.strengths import fixed_strength
from benchmark.utils.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PER_ROW = 4  # panels
SMALL, LARGE = 2, 5  # points: markers of the weakest and of the strongest repair
Frontier = list[tuple[float, Result]]  # results with their strengths, from weak to strong


def draw_frontiers(scenarios: Sequence[Scenario]) -> Picture:
    """A panel for each attack and defense: its flip rate over its rho_Acc, a point per strength.

    Lines lead from the weakest to the strongest repair. A star is the repair whose strength the
    defense chose itself. The undefended victim and the controls are in every panel. A good repair
    leads to the lower right.

    Raises:
        UserError: no defense with two strengths of one victim among the records.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    victims = attacked(scenarios)
    panels = _panels(victims)
    if not panels:
        raise UserError("figure frontier: no defense with two strengths of one victim; expected "
                        "records such as those of `crowdbench run frontier`")
    groups = dict(zip(victims, named_repairs(list(victims.values()))))
    shapes = markers(list(groups.values()))
    with rc_context(STYLE):
        rows = math.ceil(len(panels) / PER_ROW)
        columns = min(len(panels), PER_ROW)
        figure = Figure((0.5 * COLUMN * columns + 0.5, 1.7 * rows + 0.7), layout="constrained")
        axes_of = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flat
        for (victim, frontier), axes in zip(panels, axes_of):
            defense = frontier[0][1].defense
            axes.set_title(plain(f"{defense}\n{victim}" if len(victims) > 1 else defense))
            draw_references(axes, groups[victim], shapes)
            _draw_frontier(axes, frontier, victims[victim].defended(defense))
        for axes in axes_of:  # the panels that are left empty
            axes.set_axis_off()
        name_axes(figure)
        add_legend(figure)
    drawn = {victim for victim, _ in panels}
    return Picture(figure, _caption([result for victim in drawn for _, result in groups[victim]]))


def _panels(victims: dict[str, Scenario]) -> list[tuple[str, Frontier]]:
    """The victim's name and the frontier of each defense with at least two strengths."""
    return [(name, frontier) for name, victim in victims.items()
            for frontier in _frontiers(victim)]


def _frontiers(scenario: Scenario) -> list[Frontier]:
    """The results of each defense that was run at two or more fixed strengths."""
    groups: dict[str, Frontier] = defaultdict(list)
    for result in scenario.results:
        strengths = [strength(record) for record in result.records]
        if result.defense not in CONTROLS and None not in strengths:
            groups[result.defense].append((float(np.mean(strengths)), result))
    return [sorted(group, key=lambda one: one[0])
            for _, group in sorted(groups.items()) if len(group) > 1]


def strength(record: Record) -> float | None:
    """The strength of a repair whose strength was set; None where the defense chose it itself."""
    return fixed_strength(record.strengths)


def _draw_frontier(axes: "Axes", frontier: Frontier, results: Sequence[Result]) -> None:
    """The points of one defense. results: all results of the defense, with the chosen strength."""
    repairs = [result for _, result in frontier]
    x, y = zip(*map(point, repairs))
    draw_bars(axes, x, [result.interval("flip_rate") for result in repairs], DEFENDED)
    sizes = np.linspace(SMALL, LARGE, len(repairs)) ** 2
    axes.plot(x, y, color=DEFENDED, linewidth=0.6, zorder=3)
    axes.scatter(x, y, s=sizes, color=DEFENDED, linewidths=0, zorder=4,
                 label="repair (larger: stronger)")
    for result in results:
        if result and all(record.strengths and strength(record) is None
                          for record in result.records):
            axes.plot(*point(result), "*", color=ORANGE, markeredgecolor="black",
                      markeredgewidth=0.4, markersize=8, zorder=5, label="strength chosen by rule")


def _caption(results: Sequence[Result]) -> str:
    return ("Frontiers of repairs: flip rate over rho_Acc of each defense at several strengths. A "
            "line leads from the weakest to the strongest repair; the star is the strength that "
            "the defense chose by its rule, without the test images. A good repair leads to the "
            f"lower right. Points are means over seeds: {FLIP_RATE}; {RHO_ACC}. Vertical bars: "
            f"{BARS}, of the flip rate. {sample(results)}")
