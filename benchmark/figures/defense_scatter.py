"""Flip rate over accuracy, a letter per defense."""

import math
from collections.abc import Sequence
from pathlib import Path
from string import ascii_letters
from typing import TYPE_CHECKING

from benchmark.figures.style import COLUMN, STYLE, plain, save
from benchmark.results.result import Result
from benchmark.results.scenarios import Scenario, suffixes
from benchmark.tables.controls import CONTROLS
from benchmark.utils.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def write_defenses(scenarios: Sequence[Scenario], out: Path) -> None:
    """Draw what each defense leaves of each attack to out.png and out.pdf, each whole or not at all.

    Raises as `draw_defenses` does.
    """
    save(draw_defenses(scenarios), out)


def draw_defenses(scenarios: Sequence[Scenario]) -> "Figure":
    """A panel per attack: the flip rate over rho_Acc, a letter per defense; the lower right is what a repair should be.

    The bars are 95% intervals of the flip rate; grey is the undefended victim, blue a control.

    Raises:
        UserError: no victim among the records, or more defenses than letters.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    attacked = [scenario for scenario in scenarios if any("flip_rate" in result.numbers for result in scenario.results)]
    if not attacked:
        raise UserError("figure defenses: no record of a victim; expected records with an attack")
    scenarios = sorted(attacked, key=lambda scenario: (scenario.model, scenario.attack))
    results = [[result for result in scenario.results if not result.detects] for scenario in scenarios]
    names = sorted({_defense_name(result) for group in results for result in group} - {"none"})
    letters = {"none": "0"} | dict(zip(names, ascii_letters))
    if len(names) > len(ascii_letters):
        raise UserError(f"figure defenses: {len(names)} defenses; expected at most {len(ascii_letters)} to a page")
    titles = suffixes([scenario.settings for scenario in scenarios], shown=("model", "trigger", "target"))
    with rc_context(STYLE):
        rows = math.ceil(len(scenarios) / 2)
        figure = Figure((2 * COLUMN, 0.6 + 2.2 * rows + 0.03 * len(names)), layout="constrained")
        panels = figure.subplots(rows, 2, sharex=True, sharey=True, squeeze=False).flat
        for scenario, group, told, axes in zip(scenarios, results, titles, panels):
            axes.set_title(plain(f"{scenario.model} {scenario.attack}{told}"))
            for result in group:
                _draw_defense(axes, result, letters[_defense_name(result)])
        for axes in panels:
            axes.set_axis_off()  # an odd one
        figure.axes[0].set_ylim(-0.02, 1.02)
        figure.supxlabel("$\\rho_{\\mathrm{Acc}}$ (share of clean images)", fontsize=STYLE["font.size"])
        figure.supylabel("flip rate (share of images)", fontsize=STYLE["font.size"])
        key = [figure.axes[0].plot([], [], " ")[0] for _ in letters]
        figure.legend(key, [plain(f"{letter}  {name}") for name, letter in letters.items()], ncols=4, fontsize=6,
                      loc="outside upper center", handlelength=0, handletextpad=0)
    return figure


def _draw_defense(axes: "Axes", result: Result, letter: str) -> None:
    low, high = result.interval("flip_rate")
    x, y = result.numbers["rho_acc"], result.numbers["flip_rate"]
    colour = "0.5" if result.defense == "none" else "tab:blue" if result.defense in CONTROLS else "black"
    axes.vlines(x, low, high, color=colour, linewidth=0.3, alpha=0.5)
    axes.text(x, y, letter, color=colour, ha="center", va="center", weight="bold", clip_on=False)
    axes.plot(x, y, ",", color=colour)  # for the limits: text has none


def _defense_name(result: Result) -> str:
    """A defense and the settings that were given for it."""
    given = result.records[0].defense.given
    return result.defense + (f" ({', '.join(f'{key} {value}' for key, value in given.items())})" if given else "")
