"""Growth of attacks: compares victims that differ only in the size of one setting."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from benchmark.results.result import Result, Settings, on_common_seeds
from benchmark.results.scenarios import Scenario, short_name
from benchmark.tables.ablation import as_number

GROWTH = {"trigger.alpha": "Does a stronger trigger flip more images?",
          "poison_rate": "Does a higher poison rate flip more images?",
          "training.epochs": "Does longer training flip more images?"}


class Step(NamedTuple):
    """Two undefended victims with neighbouring values of one setting; `victim` has the larger one.

    name: of the victim. other_setting: the other victim's value, as 'alpha 0.05'.
    """

    name: str
    victim: Result
    other_setting: str
    other: Result


def usual(scenarios: Iterable[Scenario]) -> Settings:
    """The most common value, counted in records, of each setting that varies.

    Considered are the settings of GROWTH and the trigger of the test images.
    """
    values: dict[str, Counter[str]] = {key: Counter() for key in (*GROWTH, "test_trigger")}
    for scenario in scenarios:
        records = sum(len(result.records) for result in scenario.results)
        for key in values.keys() & scenario.settings.keys():
            values[key][scenario.settings[key]] += records
    return {key: counter.most_common(1)[0][0] for key, counter in values.items()
            if len(counter) > 1}


def sizes(scenario: Scenario) -> list[float]:
    """The values of the settings of GROWTH, for sorting victims; -1 for a setting it lacks."""
    return [as_number(scenario.settings.get(key, "-1")) for key in GROWTH]


def steps(named: Sequence[tuple[str, Scenario]], key: str) -> Iterator[Step]:
    """All steps of a setting between victims that are otherwise alike.

    Their other settings are the same, and both have a clean counter. They are compared over the
    seeds that both have.
    """
    alike = defaultdict(list)
    for name, scenario in named:
        victim = scenario.defended("none")[0]
        if not victim or key not in scenario.settings:
            continue
        if victim.successes("reference_flip_rate").size:
            rest = tuple(sorted(item for item in scenario.settings.items() if item[0] != key))
            alike[rest].append((name, victim))
    for victims in alike.values():
        victims.sort(key=lambda pair: as_number(pair[1].settings[key]))
        for (_, other), (name, victim) in zip(victims, victims[1:]):
            pair = on_common_seeds(victim, other)
            if pair:
                yield Step(name, pair[0], f"{short_name(key)} {other.settings[key]}", pair[1])


def flips_beyond(victim: Result) -> np.ndarray:
    """The victim's flips minus the clean counter's, for each image: -1, 0 or 1, int [S, N]."""
    own, reference = (victim.successes(key) for key in ("flip_rate", "reference_flip_rate"))
    return own.astype(int) - reference.astype(int)
