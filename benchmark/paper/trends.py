"""How an attack grows: victims that differ in nothing but the size of one setting."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from benchmark.results.result import Result, Settings
from benchmark.results.scenarios import Scenario, short
from benchmark.tables.ablation import as_number

GROWTH = {"trigger.alpha": "Does a stronger trigger flip more?", "poison_rate": "Do more poisoned images flip more?",
          "training.epochs": "Does longer training flip more?"}


def usual(scenarios: Iterable[Scenario]) -> Settings:
    """Of the settings of GROWTH, and the trigger of the test images, those that vary: the value of most records."""
    values: dict[str, Counter[str]] = {key: Counter() for key in (*GROWTH, "test_trigger")}
    for scenario in scenarios:
        for key in values.keys() & scenario.settings.keys():
            values[key][scenario.settings[key]] += sum(len(result.records) for result in scenario.results)
    return {key: counter.most_common(1)[0][0] for key, counter in values.items() if len(counter) > 1}


def sizes(scenario: Scenario) -> list[float]:
    """The settings of GROWTH, to put victims in order; -1 where there is none."""
    return [as_number(scenario.settings.get(key, "-1")) for key in GROWTH]


def steps(named: Sequence[tuple[str, Scenario]], key: str) -> Iterator[tuple[str, Result, str, Result]]:
    """Undefended victims that differ in one setting by one step: name and cell of the one with the larger value, value
    and cell of the other. They have all else in common, and the seeds; their clean counters are known."""
    alike = defaultdict(list)
    for name, scenario in named:
        victim = scenario.defended("none")[0]
        if victim and key in scenario.settings and victim.successes("reference_flip_rate").size:
            rest = tuple(sorted(item for item in scenario.settings.items() if item[0] != key))
            alike[rest, tuple(victim.seeds)].append((as_number(scenario.settings[key]), name, victim))
    for victims in alike.values():
        victims.sort(key=lambda victim: victim[0])
        for (_, _, less), (_, name, more) in zip(victims, victims[1:]):
            yield name, more, f"{short(key)} {less.settings[key]}", less


def flips_beyond(victim: Result) -> np.ndarray:
    """Flips less those of the clean counter, image by image: -1, 0 or 1, int [S, N]."""
    return victim.successes("flip_rate").astype(int) - victim.successes("reference_flip_rate").astype(int)
