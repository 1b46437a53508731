"""Frontiers: flip rate over accuracy along the strengths of each repair."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from benchmark.figures.captions import BARS, FLIP_RATE, RHO_ACC, sample
from benchmark.figures.named_results import NONE, Named, attacked, named_repairs
from benchmark.figures.style import (COLUMN, CONTROL, DEFENDED, ORANGE, STYLE, UNDEFENDED, Picture,
                                     add_legend, draw_bars, plain)
from benchmark.results.controls import CONTROLS
from benchmark.results.record import Record
from benchmark.results.result import Result
from benchmark.results.scenarios import Scenario
from benchmark.strengths import fixed_strength
from benchmark.utils.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PER_ROW = 4  # panels
SMALL, LARGE = 2, 5  # points: markers of the weakest and of the strongest repair
SHAPES = "sD^vP<>"  # markers of controls
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
    shapes = _markers(list(groups.values()))
    with rc_context(STYLE):
        rows = math.ceil(len(panels) / PER_ROW)
        columns = min(len(panels), PER_ROW)
        figure = Figure((0.5 * COLUMN * columns + 0.5, 1.7 * rows + 0.7), layout="constrained")
        axes_of = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flat
        for (victim, frontier), axes in zip(panels, axes_of):
            defense = frontier[0][1].defense
            axes.set_title(plain(f"{defense}\n{victim}" if len(victims) > 1 else defense))
            _draw_references(axes, groups[victim], shapes)
            _draw_frontier(axes, frontier, victims[victim].defended(defense))
        for axes in axes_of:  # the panels that are left empty
            axes.set_axis_off()
        _name_axes(figure)
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


def _markers(groups: Sequence[Named]) -> dict[str, str]:
    """The marker of the undefended victim and of each control, by name."""
    names = {name for group in groups for name, result in group if result.defense in CONTROLS}
    return {NONE: "X"} | {name: SHAPES[place % len(SHAPES)]
                          for place, name in enumerate(sorted(names))}


def _draw_references(axes: "Axes", named: Named, shapes: Mapping[str, str]) -> None:
    """The undefended victim and the controls, with 95% intervals. shapes: as of `_markers`."""
    results = dict(named)
    for name, shape in shapes.items():
        if name in results:
            colour = UNDEFENDED if name == NONE else CONTROL
            x, y = _point(results[name])
            draw_bars(axes, [x], [results[name].interval("flip_rate")], colour)
            axes.plot(x, y, shape, color=colour, markersize=4.5, markeredgewidth=0, zorder=3,
                      label=plain(name))


def _draw_frontier(axes: "Axes", frontier: Frontier, results: Sequence[Result]) -> None:
    """The points of one defense. results: all results of the defense, with the chosen strength."""
    repairs = [result for _, result in frontier]
    x, y = zip(*map(_point, repairs))
    draw_bars(axes, x, [result.interval("flip_rate") for result in repairs], DEFENDED)
    sizes = np.linspace(SMALL, LARGE, len(repairs)) ** 2
    axes.plot(x, y, color=DEFENDED, linewidth=0.6, zorder=3)
    axes.scatter(x, y, s=sizes, color=DEFENDED, linewidths=0, zorder=4,
                 label="repair (larger: stronger)")
    for result in results:
        if result and all(record.strengths and strength(record) is None
                          for record in result.records):
            axes.plot(*_point(result), "*", color=ORANGE, markeredgecolor="black",
                      markeredgewidth=0.4, markersize=8, zorder=5, label="strength chosen by rule")


def _point(result: Result) -> tuple[float, float]:
    """(rho_Acc, flip rate), means over seeds."""
    return result.numbers["rho_acc"], result.numbers["flip_rate"]


def _name_axes(figure: "Figure") -> None:
    """Name the axes of all panels, which share them, and give the flip rate its whole range."""
    figure.axes[0].set_ylim(-0.04, 1.04)
    figure.supxlabel("$\\rho_{\\mathrm{Acc}}$ (share of clean images)",
                     fontsize=STYLE["font.size"])
    figure.supylabel("flip rate (share of images)", fontsize=STYLE["font.size"])


def _caption(results: Sequence[Result]) -> str:
    return ("Frontiers of repairs: flip rate over rho_Acc of each defense at several strengths. A "
            "line leads from the weakest to the strongest repair; the star is the strength that "
            "the defense chose by its rule, without the test images. A good repair leads to the "
            f"lower right. Points are means over seeds: {FLIP_RATE}; {RHO_ACC}. Vertical bars: "
            f"{BARS}, of the flip rate. {sample(results)}")
