"""Scatter of defenses: flip rate over accuracy, a letter for each defense."""

import math
from collections.abc import Sequence
from string import ascii_letters
from typing import TYPE_CHECKING

from benchmark.figures.style import COLUMN, STYLE, plain
from benchmark.results.controls import CONTROLS
from benchmark.results.labels import setting_labels
from benchmark.results.result import Result
from benchmark.results.scenarios import Scenario, suffixes
from benchmark.utils.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw_defenses(scenarios: Sequence[Scenario]) -> "Figure":
    """A panel for each attack: flip rate over rho_Acc, a letter for each defense.

    A good repair lies in the lower right. Bars are 95% intervals of the flip rate. The undefended
    victim is grey, a control is blue.

    Raises:
        UserError: no victim among the records, or more defenses than letters.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    attacked = [scenario for scenario in scenarios
                if any("flip_rate" in result.numbers for result in scenario.results)]
    if not attacked:
        raise UserError("figure defenses: no record of a victim; expected records with an attack")
    attacked.sort(key=lambda scenario: (scenario.model, scenario.attack))
    letters = _letters(attacked)
    endings = suffixes([scenario.settings for scenario in attacked],
                       shown=("model", "trigger", "target"))
    with rc_context(STYLE):
        rows = math.ceil(len(attacked) / 2)
        height = 0.6 + 2.2 * rows + 0.03 * (len(letters) - 1)
        figure = Figure((2 * COLUMN, height), layout="constrained")
        panels = figure.subplots(rows, 2, sharex=True, sharey=True, squeeze=False).flat
        for scenario, ending, axes in zip(attacked, endings, panels):
            axes.set_title(plain(f"{scenario.model} {scenario.attack}{ending}"))
            for result in _repairs(scenario):
                _draw_defense(axes, result, letters[_defense_name(result)])
        for axes in panels:  # the iterator holds only the panel that an odd number leaves empty
            axes.set_axis_off()
        figure.axes[0].set_ylim(-0.02, 1.02)
        figure.supxlabel("$\\rho_{\\mathrm{Acc}}$ (share of clean images)",
                         fontsize=STYLE["font.size"])
        figure.supylabel("flip rate (share of images)", fontsize=STYLE["font.size"])
        handles = [figure.axes[0].plot([], [], " ")[0] for _ in letters]
        labels = [plain(f"{letter}  {name}") for name, letter in letters.items()]
        figure.legend(handles, labels, ncols=4, fontsize=6, loc="outside upper center",
                      handlelength=0, handletextpad=0)
    return figure


def _letters(scenarios: Sequence[Scenario]) -> dict[str, str]:
    """Defense -> its letter; '0' for none. Raises UserError if there are too few letters."""
    names = {_defense_name(result) for scenario in scenarios for result in _repairs(scenario)}
    names.discard("none")
    if len(names) > len(ascii_letters):
        raise UserError(f"figure defenses: {len(names)} defenses; expected at most "
                        f"{len(ascii_letters)} on a page")
    return {"none": "0"} | dict(zip(sorted(names), ascii_letters))


def _repairs(scenario: Scenario) -> list[Result]:
    """The results of a scenario, without those of detectors."""
    return [result for result in scenario.results if not result.detects]


def _draw_defense(axes: "Axes", result: Result, letter: str) -> None:
    low, high = result.interval("flip_rate")
    x, y = result.numbers["rho_acc"], result.numbers["flip_rate"]
    if result.defense == "none":
        colour = "0.5"
    else:
        colour = "tab:blue" if result.defense in CONTROLS else "black"
    axes.vlines(x, low, high, color=colour, linewidth=0.3, alpha=0.5)
    axes.text(x, y, letter, color=colour, ha="center", va="center", weight="bold", clip_on=False)
    axes.plot(x, y, ",", color=colour)  # a point sets the limits of the axes, a letter does not


def _defense_name(result: Result) -> str:
    """A defense and the settings that were given to it."""
    given = result.records[0].defense.given
    if not given:
        return result.defense
    labels = setting_labels(result.settings, {f"defense.{key}": key for key in given})
    return f"{result.defense} ({', '.join(labels)})"
