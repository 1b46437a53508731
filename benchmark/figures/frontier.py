"""Frontiers: flip rate over accuracy along the strengths of each repair."""

import math
from collections import defaultdict
from collections.abc import Sequence
from itertools import cycle
from typing import TYPE_CHECKING

import numpy as np

from benchmark.figures.style import COLUMN, STYLE, plain
from benchmark.results.controls import CONTROLS
from benchmark.results.record import Record
from benchmark.results.result import Result
from benchmark.results.scenarios import Scenario, suffixes
from benchmark.strengths import fixed_strength
from benchmark.utils.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PER_ROW = 4  # panels
Frontier = list[tuple[float, Result]]  # results with their strengths, from weak to strong


def draw_frontiers(scenarios: Sequence[Scenario]) -> "Figure":
    """A panel for each attack and defense: its flip rate over its rho_Acc, a point per strength.

    Lines lead from the weakest to the strongest repair. A star is the repair whose strength the
    defense chose itself. The grey cross is the undefended victim, and blue letters are the
    controls. A good repair leads to the lower right.

    Raises:
        UserError: no defense with two strengths of one victim among the records.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    panels = _panels(scenarios)
    if not panels:
        raise UserError("figure frontier: no defense with two strengths of one victim; expected "
                        "records such as those of `crowdbench run frontier`")
    with rc_context(STYLE):
        rows = math.ceil(len(panels) / PER_ROW)
        columns = min(len(panels), PER_ROW)
        figure = Figure((0.5 * COLUMN * columns + 0.5, 1.7 * rows + 0.7), layout="constrained")
        axes_of = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flat
        for (title, scenario, frontier), axes in zip(panels, axes_of):
            axes.set_title(plain(title))
            _draw_controls(axes, scenario)
            _draw_frontier(axes, frontier, scenario.defended(frontier[0][1].defense))
        for axes in axes_of:  # the panels that are left empty
            axes.set_axis_off()
        figure.axes[0].set_ylim(-0.02, 1.02)
        figure.supxlabel("$\\rho_{\\mathrm{Acc}}$ (share of clean images)",
                         fontsize=STYLE["font.size"])
        figure.supylabel("flip rate (share of images)", fontsize=STYLE["font.size"])
        handles = {label: handle for axes in figure.axes
                   for handle, label in zip(*axes.get_legend_handles_labels())}
        figure.legend(handles.values(), handles, ncols=3, loc="outside upper center")
    return figure


def _panels(scenarios: Sequence[Scenario]) -> list[tuple[str, Scenario, Frontier]]:
    """A title, the scenario and the frontier of each defense with at least two strengths."""
    attacked = [scenario for scenario in scenarios
                if any("flip_rate" in result.numbers for result in scenario.results)]
    attacked.sort(key=lambda scenario: (scenario.model, scenario.attack))
    endings = suffixes([scenario.settings for scenario in attacked],
                       shown=("model", "trigger", "target"))
    several = len(attacked) > 1
    panels = []
    for scenario, ending in zip(attacked, endings):
        for defense, frontier in _frontiers(scenario).items():
            victim = f"\n{scenario.model} {scenario.attack}{ending}" if several else ""
            panels.append((f"{defense}{victim}", scenario, frontier))
    return panels


def _frontiers(scenario: Scenario) -> dict[str, Frontier]:
    """The results of each defense that was run at two or more fixed strengths."""
    groups: dict[str, Frontier] = defaultdict(list)
    for result in scenario.results:
        strengths = [strength(record) for record in result.records]
        if result.defense not in CONTROLS and None not in strengths:
            groups[result.defense].append((float(np.mean(strengths)), result))
    return {defense: sorted(group, key=lambda one: one[0])
            for defense, group in sorted(groups.items()) if len(group) > 1}


def strength(record: Record) -> float | None:
    """The strength of a repair whose strength was set; None where the defense chose it itself."""
    return fixed_strength(record.strengths)


def _draw_frontier(axes: "Axes", frontier: Frontier, results: Sequence[Result]) -> None:
    """The points of one defense. results: all results of the defense, with the chosen strength."""
    x = [result.numbers["rho_acc"] for _, result in frontier]
    y = [result.numbers["flip_rate"] for _, result in frontier]
    axes.plot(x, y, color="0.6", linewidth=0.6, zorder=1)
    axes.scatter(x, y, s=np.linspace(4, 28, len(x)), c=np.linspace(0.75, 0, len(x)), cmap="viridis",
                 vmin=0, vmax=1, zorder=2, label="repair (larger: stronger)")
    for result in results:
        if result and all(record.strengths and strength(record) is None
                          for record in result.records):
            axes.plot(result.numbers["rho_acc"], result.numbers["flip_rate"], "*", color="tab:red",
                      markersize=8, zorder=3, label="the strength that it chose")


def _draw_controls(axes: "Axes", scenario: Scenario) -> None:
    """The undefended victim and the controls."""
    markers = cycle("sD^v<>P")
    for result in scenario.results:
        if result.defense == "none":
            axes.plot(result.numbers["rho_acc"], result.numbers["flip_rate"], "x", color="0.4",
                      label="no defense")
        elif result.defense in CONTROLS:
            images = result.records[0].defense.resolved.get("images")
            label = f"{result.defense}, {images or 'all'} clean images"
            axes.plot(result.numbers["rho_acc"], result.numbers["flip_rate"], next(markers),
                      color="tab:blue", markersize=4, label=plain(label))
