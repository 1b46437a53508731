"""Trade-offs: flip rate over rho_Acc, with the undefended victim and the controls in each panel."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from benchmark.figures.style import CONTROL, STYLE, UNDEFENDED, draw_bars, plain
from benchmark.results.controls import CONTROLS
from benchmark.results.result import Result
from benchmark.results.scenarios import Scenario, defense_settings, suffixes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NONE = "no defense"
SHAPES = "sD^vP<>"  # markers of controls
Named = list[tuple[str, Result]]


def attacked(scenarios: Sequence[Scenario]) -> dict[str, Scenario]:
    """The scenarios with flip rates, by the shortest names that tell them apart."""
    victims = [scenario for scenario in scenarios
               if any("flip_rate" in result.numbers for result in scenario.results)]
    victims.sort(key=lambda scenario: (scenario.model, scenario.attack))
    return dict(zip(victim_names(victims), victims))


def victim_names(victims: Sequence[Scenario]) -> list[str]:
    """Trigger and target of each victim, with its model and settings where these differ."""
    endings = suffixes([victim.settings for victim in victims],
                       shown=("model", "trigger", "target"))
    several = len({victim.model for victim in victims}) > 1
    return [f"{victim.model + ' ' if several else ''}{victim.attack}{ending}"
            for victim, ending in zip(victims, endings)]


def named_repairs(scenarios: Sequence[Scenario]) -> list[Named]:
    """For each scenario its results that are no detector's, with the names of their defenses."""
    results = [[result for result in scenario.results if not result.detects]
               for scenario in scenarios]
    rows = [defense_settings(result) for group in results for result in group]
    endings = iter(suffixes(rows, shown=("model", "defense")))
    named = []
    for group in results:
        named.append([((NONE if result.defense == "none" else result.defense) + next(endings),
                       result) for result in group])
    return named


def markers(groups: Sequence[Named]) -> dict[str, str]:
    """The marker of the undefended victim and of each control, by name."""
    names = {name for group in groups for name, result in group if result.defense in CONTROLS}
    return {NONE: "X"} | {name: SHAPES[place % len(SHAPES)]
                          for place, name in enumerate(sorted(names))}


def draw_references(axes: "Axes", named: Named, shapes: Mapping[str, str]) -> None:
    """The undefended victim and the controls, with 95% intervals. shapes: as of `markers`."""
    results = dict(named)
    for name, shape in shapes.items():
        if name in results:
            colour = UNDEFENDED if name == NONE else CONTROL
            x, y = point(results[name])
            draw_bars(axes, [x], [results[name].interval("flip_rate")], colour)
            axes.plot(x, y, shape, color=colour, markersize=4.5, markeredgewidth=0, zorder=3,
                      label=plain(name))


def point(result: Result) -> tuple[float, float]:
    """(rho_Acc, flip rate), means over seeds."""
    return result.numbers["rho_acc"], result.numbers["flip_rate"]


def name_axes(figure: "Figure") -> None:
    """Name the axes of all panels, which share them, and give the flip rate its whole range."""
    figure.axes[0].set_ylim(-0.04, 1.04)
    figure.supxlabel("$\\rho_{\\mathrm{Acc}}$ (share of clean images)",
                     fontsize=STYLE["font.size"])
    figure.supylabel("flip rate (share of images)", fontsize=STYLE["font.size"])
