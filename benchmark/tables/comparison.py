"""One defense beside every other on the same victims and images: what differs, and whether it could be chance."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from benchmark.metrics.significance import holm, mcnemar
from benchmark.results.scenarios import Scenario, defense_settings, suffixes
from benchmark.tables.controls import SHARED
from benchmark.tables.formats import NONE, Table, probability
from benchmark.utils.errors import UserError, did_you_mean

LEVEL = 0.05


@dataclass(frozen=True)
class Difference:
    """own, other: success of each image, bool [S, N]; empty where there is no such number."""

    own: np.ndarray
    other: np.ndarray

    @property
    def value(self) -> float:
        return float(self.own.mean() - self.other.mean())

    @property
    def p(self) -> float:
        return mcnemar(self.own, self.other)


def difference_table(scenarios: Sequence[Scenario], defense: str) -> Table:
    """One row per attack and other defense: the difference of flip rates and of rho_Acc, and p of each.

    Raises:
        UserError: no record with such a defense, or one that repairs nothing.
    """
    every = [(scenario, own, beside, other) for scenario in scenarios for own in scenario.results
             if own.defense == defense for beside in scenarios if beside.grid == scenario.grid
             for other in beside.results if other is not own and not other.detects
             and (beside is scenario or other.defense not in SHARED)]
    names = sorted({result.defense for scenario in scenarios for result in scenario.results if not result.detects})
    if defense not in names:
        raise UserError(f"compare {defense!r}: no record of a counter that it repaired: {did_you_mean(defense, names)}")
    same = [(scenario, own, beside, other) for scenario, own, beside, other in every if own.seeds == other.seeds]
    pairs = [(scenario, own, other) for scenario, own, _, other in same]
    attacks = suffixes([scenario.settings for scenario, _, _ in pairs], shown=("model", "trigger", "target"))
    both = suffixes([defense_settings(result) for _, *results in pairs for result in results], shown=("model", "defense"))
    lines = [{"model": scenario.model, "attack": scenario.attack + attack, "defense": defense + mine,
              "beside": other.defense + told}
             for (scenario, _, other), attack, mine, told in zip(pairs, attacks, both[::2], both[1::2])]
    flips = [Difference(own.successes("flip_rate"), other.successes("flip_rate")) for _, own, other in pairs]
    counts = [Difference(own.successes("rho_acc"), other.successes("rho_acc")) for _, own, other in pairs]
    adjusted = iter(holm([one.p for one in flips + counts if one.own.size]) if pairs else [])
    for heading, differences, better in (("flip rate", flips, -1), ("rho_Acc", counts, 1)):
        for line, one in zip(lines, differences):
            line |= _told(heading, one, next(adjusted), better) if one.own.size else _told(heading, None, 1, better)
    tests = sum(bool(one.own.size) for one in flips + counts)
    return Table("differences", f"Differences of {defense}", pd.DataFrame(lines), [
        f"{defense} minus the other, on the same images: a lower flip rate and a higher rho_Acc are better. "
        "p: exact McNemar test over images, with several seeds an exact sign-flip test of their sums, after Holm's "
        f"correction for the {tests} tests of this table. 'better' and 'worse': p < {LEVEL}. '-': no difference was "
        "shown, which is not to say that there is none. It is about these models; only seeds tell about others.",
        *(["Cells with other seeds than the compared defense are left out."] if len(same) < len(every) else []),
        *(["Defenses of other entries repaired victims of their own, of the same settings and with the same seeds; "
           "none and the controls are those of the compared defense's victims."]
          if any(beside is not scenario for scenario, _, beside, _ in same) else [])])


def _told(heading: str, difference: Difference | None, p: float, better: int) -> dict[str, str]:
    if difference is None:
        return {heading: NONE, f"p {heading}": NONE, f"{heading}?": NONE}
    verdict = "-" if p >= LEVEL else "better" if difference.value * better > 0 else "worse"
    return {heading: f"{difference.value:+.3f}", f"p {heading}": probability(p), f"{heading}?": verdict}
