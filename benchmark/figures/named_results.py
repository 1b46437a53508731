"""Names of victims and of their results in figures, as short as they can be told apart."""

from collections.abc import Sequence

from benchmark.results.result import Result
from benchmark.results.scenarios import Scenario, defense_settings, suffixes

NONE = "no defense"
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
