"""Rows of defenses: what share of images each leaves flipped, and what share it counts well."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from benchmark.figures.captions import BARS, FLIP_RATE, RHO_ACC, sample
from benchmark.figures.named_results import NONE, Named, attacked, named_repairs
from benchmark.figures.style import (BLACK, COLUMN, CONTROL, SKY, STYLE, UNDEFENDED, Picture,
                                     add_legend, plain)
from benchmark.metrics.counting import mean_of_existing
from benchmark.results.controls import CONTROLS
from benchmark.results.result import Result
from benchmark.results.scenarios import Scenario
from benchmark.tables.controls import chance_flips
from benchmark.utils.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ACROSS = 4  # panels beside each other
NAMES, PANEL = 1.3, 1.4  # inches: the widths of the names of defenses and of a panel
ROW, ABOVE = 0.16, 0.75  # inches: the heights of a row, and of what is above and below the panels
LETTERS = 26  # in a line of the name of a defense
MARKS = {"rho_acc": ("o", SKY, "rho_Acc"), "flip_rate": ("D", UNDEFENDED, "flip rate")}
OFFSETS = {"rho_acc": -0.14, "flip_rate": 0.14}  # of a mark in its row, so that none hides another


def draw_defenses(scenarios: Sequence[Scenario]) -> Picture:
    """A panel for each attack and a row for each defense: its flip rate and its rho_Acc.

    The rows are ordered by the share of triggered images that are counted right (RA), the best one
    first. A black tick is the flip rate of the clean counter after the same defense, and a dotted
    line that of the victim without a defense. Bars are 95% intervals. Detectors, which leave the
    counter as it is, have no rows.

    Raises:
        UserError: no victim among the records, or only results of detectors.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    victims = attacked(scenarios)
    repaired = zip(victims, named_repairs(list(victims.values())))
    panels = {title: group for title, group in repaired if group}  # the others met detectors alone
    if not panels:
        raise UserError("figure defenses: no record of a victim without a defense or after a "
                        "repair; expected records with an attack, not of detectors alone")
    groups = list(panels.values())
    rows = _ordered(groups)
    across = min(ACROSS, len(groups))
    down = math.ceil(len(groups) / across)
    with rc_context(STYLE | {"axes.grid.axis": "x"}):
        size = (max(COLUMN, NAMES + PANEL * across), ABOVE + down * (0.3 + ROW * len(rows)))
        figure = Figure(size, layout="constrained")
        places = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False).flat
        for (title, group), axes in zip(panels.items(), places):
            axes.set_title(plain(title))
            _draw_rows(axes, dict(group), rows)
        for axes in places:  # the iterator holds only the panels that are left empty
            axes.set_axis_off()
        _name_rows(figure, groups, rows)
        figure.supxlabel("share of images", fontsize=STYLE["font.size"])
        add_legend(figure)
    return Picture(figure, _caption(groups))


def _ordered(groups: Sequence[Named]) -> list[str]:
    """The names of all defenses, the one with the highest mean RA over the attacks first."""
    found: dict[str, list[float]] = {}
    for name, result in [named for group in groups for named in group]:
        found.setdefault(name, []).append(result.numbers["ra"])
    means = {name: mean_of_existing(values) for name, values in found.items()}
    return sorted(means, key=lambda name: (-np.nan_to_num(means[name], nan=-1), name))


def _draw_rows(axes: "Axes", results: Mapping[str, Result], rows: Sequence[str]) -> None:
    """The marks and intervals of one attack. Defenses that were not run have an empty row."""
    if NONE in results:
        axes.axvline(results[NONE].numbers["flip_rate"], color=UNDEFENDED, linewidth=0.6,
                     linestyle=":", zorder=1)
    places = {name: place for place, name in enumerate(rows) if name in results}
    for key, (marker, colour, label) in MARKS.items():
        height = [place + OFFSETS[key] for place in places.values()]
        axes.hlines(height, *zip(*(results[name].interval(key) for name in places)), color=colour,
                    linewidth=0.8, alpha=0.6)
        axes.plot([results[name].numbers[key] for name in places], height, marker, color=colour,
                  markersize=3, markeredgewidth=0, label=label, zorder=3)
    axes.plot([chance_flips(results[name]) for name in places],
              [place + OFFSETS["flip_rate"] for place in places.values()], "|", color=BLACK,
              markersize=5, markeredgewidth=0.8, label="chance flips", zorder=4)


def _name_rows(figure: "Figure", groups: Sequence[Named], rows: Sequence[str]) -> None:
    """Name the rows, which all panels share. No defense and the controls have colours."""
    defenses = {name: result.defense for group in groups for name, result in group}
    first = figure.axes[0]
    first.set(xlim=(-0.03, 1.03), ylim=(len(rows) - 0.4, -0.6), xticks=(0, 0.5, 1),
              yticks=range(len(rows)),
              yticklabels=[plain(textwrap.fill(name, LETTERS)) for name in rows])
    for axes in figure.axes:
        axes.tick_params(axis="y", length=0, labelsize=5.5)
    for name, label in zip(rows, first.get_yticklabels()):
        if name == NONE or defenses[name] in CONTROLS:
            label.set(color=UNDEFENDED if name == NONE else CONTROL, weight="bold")


def _caption(groups: Sequence[Named]) -> str:
    results = [result for group in groups for _, result in group]
    return (f"Defenses on {len(groups)} {'attack' if len(groups) == 1 else 'attacks'}: the flip "
            f"rate and rho_Acc of each. A good repair has few flips and a high rho_Acc. Rows are "
            f"ordered by the mean share of triggered images that are counted to within 10% of the "
            f"truth; no defense and the controls have coloured names. Marks are means over seeds: "
            f"{FLIP_RATE}; {RHO_ACC}. Bars: {BARS}. Tick: the flip rate of the clean counter after "
            f"the same defense, which is chance. Dotted line: the flip rate without a defense. "
            f"{sample(results)}")
