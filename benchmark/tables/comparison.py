"""Comparison of one defense with all others on the same victims and images, with significance."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from benchmark.metrics.significance import LEVEL, holm, mcnemar
from benchmark.results.result import Result
from benchmark.results.scenarios import Scenario, defense_settings, suffixes
from benchmark.tables.controls import SHARED
from benchmark.tables.formats import NONE, Table, probability
from benchmark.utils.errors import UserError, did_you_mean


@dataclass(frozen=True)
class Comparison:
    """Results of the compared defense (own) and of another one on the same images.

    own_victims: whether the other defense repaired victims of its own entry, which have the same
    settings but other weights.
    """

    scenario: Scenario
    own: Result
    other: Result
    own_victims: bool


@dataclass(frozen=True)
class Difference:
    """A share of the compared defense and of the other one, image by image.

    own, other: bool [S, N], S seeds and N images; empty if there is no such share.
    """

    own: np.ndarray
    other: np.ndarray

    @property
    def exists(self) -> bool:
        return bool(self.own.size)

    @property
    def value(self) -> float:
        return float(self.own.mean() - self.other.mean())

    @property
    def p(self) -> float:
        """The p value of a McNemar test, not corrected."""
        return mcnemar(self.own, self.other)


def difference_table(scenarios: Sequence[Scenario], defense: str) -> Table:
    """One row per attack and other defense: differences of flip rate and rho_Acc, with p values.

    Raises:
        UserError: no record has the defense, or it is a detector, which repairs nothing.
    """
    repairs = {result.defense for scenario in scenarios for result in scenario.results
               if not result.detects}
    if defense not in repairs:
        raise UserError(f"compare {defense!r}: no record of a counter that it repaired: "
                        f"{did_you_mean(defense, sorted(repairs))}")
    every = list(_comparisons(scenarios, defense))
    compared = [comparison for comparison in every
                if comparison.own.seeds == comparison.other.seeds]
    lines = _names(compared)
    flips = _differences(compared, "flip_rate")
    counts = _differences(compared, "rho_acc")
    tests = [difference.p for difference in flips + counts if difference.exists]
    adjusted = iter(holm(tests) if tests else [])
    for heading, differences, better in (("flip rate", flips, -1), ("rho_Acc", counts, 1)):
        for line, difference in zip(lines, differences):
            p = next(adjusted) if difference.exists else None
            line |= _cells(heading, difference, p, better)
    notes = [_legend(defense, len(tests))]
    if len(compared) < len(every):
        notes.append("Results whose seeds differ from those of the compared defense are left out.")
    if any(comparison.own_victims for comparison in compared):
        notes.append("Defenses of other entries repaired victims of their own, which have the same "
                     "settings and seeds. none and the controls are of the compared defense's "
                     "victims.")
    return Table("differences", f"Differences of {defense}", pd.DataFrame(lines), notes)


def _comparisons(scenarios: Sequence[Scenario], defense: str) -> Iterator[Comparison]:
    """The defense with every other one that repaired victims of the same settings.

    Of the victims of other entries only the entries' own defenses are taken, not their controls.
    """
    for scenario in scenarios:
        for own in scenario.results:
            if own.defense != defense:
                continue
            for source in scenarios:
                if source.grid != scenario.grid:
                    continue
                own_victims = source is not scenario
                for other in source.results:
                    is_foreign_control = own_victims and other.defense in SHARED
                    if other is not own and not other.detects and not is_foreign_control:
                        yield Comparison(scenario, own, other, own_victims)


def _names(compared: Sequence[Comparison]) -> list[dict[str, str]]:
    """The first cells of each row: model, attack and the names of both defenses."""
    attacks = suffixes([comparison.scenario.settings for comparison in compared],
                       shown=("model", "trigger", "target"))
    results = [comparison.own for comparison in compared]
    results += [comparison.other for comparison in compared]
    labels = suffixes([defense_settings(result) for result in results], shown=("model", "defense"))
    names = [result.defense + suffix for result, suffix in zip(results, labels)]
    lines = []
    for number, (comparison, suffix) in enumerate(zip(compared, attacks)):
        scenario = comparison.scenario
        lines.append({"model": scenario.model, "attack": scenario.attack + suffix,
                      "defense": names[number], "compared with": names[len(compared) + number]})
    return lines


def _differences(compared: Sequence[Comparison], key: str) -> list[Difference]:
    return [Difference(comparison.own.successes(key), comparison.other.successes(key))
            for comparison in compared]


def _cells(heading: str, difference: Difference, p: float | None, better: int) -> dict[str, str]:
    """The cells of one difference. p: corrected; None if the difference does not exist.

    better: the sign of an improvement.
    """
    if p is None:
        return {heading: NONE, f"p {heading}": NONE, f"{heading} verdict": NONE}
    verdict = "-"
    if p < LEVEL:
        verdict = "better" if difference.value * better > 0 else "worse"
    return {heading: f"{difference.value:+.3f}", f"p {heading}": probability(p),
            f"{heading} verdict": verdict}


def _legend(defense: str, tests: int) -> str:
    return (
        f"Each difference is {defense} minus the defense that it is compared with, on the same "
        "images. The flip rate is the share of images that the trigger moves into success; "
        "lower is better. rho_Acc is the share of clean images that are counted to within 10% "
        "of the truth; higher is better. p is of an exact McNemar test over images, with "
        "several seeds of an exact sign-flip test of their sums, after Holm's correction for "
        f"the {tests} tests of this table. The verdict is 'better' or 'worse' if p < {LEVEL}. "
        "'-' means that no difference was shown, not that there is none. The tests are about "
        "these models; only more seeds tell about others.")
