"""Comparison of one attack with all others after the same defenses, with significance."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmark.metrics.paired import Paired, infer
from benchmark.results.result import Result, Settings, on_common_seeds
from benchmark.results.scenarios import Scenario, defense_settings, suffixes
from benchmark.tables.comparison import difference_cells
from benchmark.tables.detection import ATTACK
from benchmark.tables.footnotes import unchanged_notes
from benchmark.tables.formats import Table, as_frame
from benchmark.tables.two_levels import INTERVAL, few_seeds, level_legend
from benchmark.utils.errors import UserError, did_you_mean

# Each number with the sign of what is better for the attacker.
NUMBERS = {"RA": ("ra", -1), "flip rate": ("flip_rate", 1), "rho_Acc": ("rho_acc", 1)}

BRIEF = ("defense", "compared with", *(f"{heading}{more}" for heading in NUMBERS
                                       for more in ("", " verdict")))


@dataclass(frozen=True)
class AttackComparison:
    """Results of the compared attack (own) and of another one, on the seeds that both have."""

    own_scenario: Scenario
    other_scenario: Scenario
    own: Result
    other: Result


def attack_difference_table(scenarios: Sequence[Scenario], attack: str) -> Table:
    """One row per defense and other attack: differences of RA, flip rate and rho_Acc, with p.

    attack: 'TRIGGER/TARGET'.

    Raises:
        UserError: no record has the attack, or none of another attack with the same defense.
    """
    known = {scenario.attack for scenario in scenarios} - {"clean"}
    if attack not in known:
        raise UserError(f"compare {attack!r}: no record of a counter with this attack: "
                        f"{did_you_mean(attack, known)}")
    compared = list(_comparisons(scenarios, attack))
    if not compared:
        raise UserError(f"compare {attack!r}: no record of another attack on the same clean "
                        "counter, with a defense and a seed that this attack has, too; expected "
                        "at least one")
    lines = _names(compared)
    pairs = {heading: _pairs(compared, key) for heading, (key, _) in NUMBERS.items()}
    tested = [pair for column in pairs.values() for pair in column if pair is not None]
    inferences = iter(infer([tested])[0])
    for heading, (_, better) in NUMBERS.items():
        for line, pair in zip(lines, pairs[heading]):
            line |= difference_cells(heading, next(inferences) if pair else None, better)
    results = [(f"{line['model']} {line['attack']} {line['defense']}", one.own)
               for line, one in zip(lines, compared)]
    notes = [_legend(attack, len(tested)), *few_seeds(len(one.own.seeds) for one in compared),
             *unchanged_notes(results)]
    caption = (f"Differences of {attack} from each other attack after the same defense, on the "
               "same images and seeds, with p values corrected by Holm's method. The attacker wants a "
               "low RA, many flips and a high rho_Acc.")
    return Table("attack-differences", f"Differences of {attack}", as_frame(lines), notes,
                 caption=caption, brief=BRIEF)


def _comparisons(scenarios: Sequence[Scenario], attack: str) -> Iterator[AttackComparison]:
    """The attack with every other one, after each repair that both met, and without any."""
    for own_scenario in scenarios:
        if own_scenario.attack != attack:
            continue
        for other_scenario in scenarios:
            is_other = other_scenario is not own_scenario and other_scenario.attack != "clean"
            if not is_other or _counter(own_scenario) != _counter(other_scenario):
                continue
            for own in own_scenario.results:
                for other in other_scenario.results:
                    pair = on_common_seeds(own, other)
                    if pair and not own.detects and _defense(own) == _defense(other):
                        yield AttackComparison(own_scenario, other_scenario, *pair)


def _pairs(compared: Sequence[AttackComparison], key: str) -> list[Paired | None]:
    """The images that a share counts under both attacks; None where one has no such share."""
    pairs = [Paired(one.own.successes(key), one.other.successes(key)) for one in compared]
    return [pair if pair.own.size and pair.other.size else None for pair in pairs]


def _counter(scenario: Scenario) -> Settings:
    """The settings of the clean counter that a victim belongs to."""
    return {key: value for key, value in scenario.grid.items()
            if key.partition(".")[0] not in ATTACK}


def _defense(result: Result) -> Settings:
    """The settings of a defense, whichever entry it is from."""
    return {key: value for key, value in defense_settings(result).items()
            if key != "defense.entry"}


def _names(compared: Sequence[AttackComparison]) -> list[dict[str, str]]:
    """The first cells of each row: model, defense, the names of both attacks, and the seeds."""
    every = [one.own_scenario for one in compared] + [one.other_scenario for one in compared]
    labels = suffixes([scenario.grid for scenario in every], shown=("model", "trigger", "target"))
    attacks = [scenario.attack + label for scenario, label in zip(every, labels)]
    defenses = suffixes([_defense(one.own) for one in compared], shown=("model", "defense"))
    lines = []
    for number, (one, label) in enumerate(zip(compared, defenses)):
        lines.append({"model": one.own_scenario.model, "defense": one.own.defense + label,
                      "attack": attacks[number], "compared with": attacks[len(compared) + number],
                      "seeds": ", ".join(map(str, one.own.seeds))})
    return lines


def _legend(attack: str, tests: int) -> str:
    return (
        f"Each difference is {attack} minus the attack that it is compared with, after the same "
        "defense, on the same test images and on the seeds that both have. RA is the share of "
        "triggered images that are counted to within 10% of the truth, and the flip rate the share "
        "that the trigger moves into success; the attacker wants a low RA and many flips. rho_Acc "
        "is the share of clean images that are counted to within 10% of the truth; the attacker "
        f"wants it high, so that nobody notices. {INTERVAL} {level_legend(tests)} The verdict is "
        "'better' or 'worse', for the attacker, where a difference is shown for the attack, has "
        "'these counters:' before it where it is shown for these counters only, and is '-' where "
        "none is shown.")
