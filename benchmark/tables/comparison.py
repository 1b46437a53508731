"""Comparison of one defense with all others on the same victims and images, with significance."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from benchmark.metrics.paired import Inference, Paired, infer
from benchmark.results.controls import SHARED
from benchmark.results.result import Result, on_common_seeds
from benchmark.results.scenarios import Scenario, defense_settings, suffixes
from benchmark.tables.footnotes import unchanged_notes
from benchmark.tables.formats import NONE, Cell, Table, as_frame
from benchmark.tables.two_levels import INTERVAL, few_seeds, level_cells, level_legend
from benchmark.utils.errors import UserError, did_you_mean


NOT_SHOWN = "no difference shown"
FOR_COUNTERS = "these counters: "  # before a verdict that is not shown for the method
BRIEF = ("attack", "compared with", "flip rate", "flip rate verdict", "rho_Acc", "rho_Acc verdict")


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


def difference_table(scenarios: Sequence[Scenario], defense: str) -> Table:
    """One row per attack and other defense: differences of flip rate and rho_Acc, with p values.

    They are on the seeds that both have.

    Raises:
        UserError: no record has the defense, or it is a detector, which repairs nothing.
    """
    repairs = {result.defense for scenario in scenarios for result in scenario.results
               if not result.detects}
    if defense not in repairs:
        raise UserError(f"compare {defense!r}: no record of a counter that it repaired: "
                        f"{did_you_mean(defense, sorted(repairs))}")
    every = list(comparisons(scenarios, defense))
    compared = on_their_common_seeds(every)
    lines, tests = difference_rows(compared)
    notes = [_legend(defense, tests),
             *few_seeds(len(comparison.own.seeds) for comparison in compared)]
    if len(compared) < len(every):
        notes.append("Results that share no seed with the compared defense are left out.")
    if any(comparison.own_victims for comparison in compared):
        notes.append("Defenses of other entries repaired victims of their own, which have the same "
                     "settings and seeds. none and the controls are of the compared defense's "
                     "victims.")
    notes += unchanged_notes(_named_results(lines, compared))
    caption = (f"Differences of {defense} from each other defense on the same images and seeds, "
               "with p values corrected by Holm's method. A lower flip rate and a higher rho_Acc "
               "are better.")
    return Table("differences", f"Differences of {defense}", as_frame(lines), notes,
                 caption=caption, brief=BRIEF)


def difference_rows(compared: Sequence[Comparison]) -> tuple[list[dict[str, str]], int]:
    """The rows of a table of differences, and the number of tests that p is corrected for."""
    lines = _names(compared)
    flips, counts = _pairs(compared, "flip_rate"), _pairs(compared, "rho_acc")
    tested = [pair for pair in flips + counts if pair.exists]
    inferences = iter(infer([tested])[0])
    for heading, pairs, better in (("flip rate", flips, -1), ("rho_Acc", counts, 1)):
        for line, pair in zip(lines, pairs):
            line |= difference_cells(heading, next(inferences) if pair.exists else None, better)
    return lines, len(tested)


def on_their_common_seeds(every: Iterable[Comparison]) -> list[Comparison]:
    """Comparisons on the seeds that both results have, without those that share none."""
    pairs = [(comparison, on_common_seeds(comparison.own, comparison.other))
             for comparison in every]
    return [replace(comparison, own=pair[0], other=pair[1]) for comparison, pair in pairs if pair]


def comparisons(scenarios: Sequence[Scenario], defense: str) -> Iterator[Comparison]:
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


def _named_results(lines: Sequence[dict[str, str]],
                   compared: Sequence[Comparison]) -> Iterator[tuple[str, Result]]:
    """The results of both defenses of each row, each with the name of its row and defense."""
    for line, comparison in zip(lines, compared):
        victim = f"{line['model']} {line['attack']}"
        yield f"{victim} {line['defense']}", comparison.own
        yield f"{victim} {line['compared with']}", comparison.other


def _pairs(compared: Sequence[Comparison], key: str) -> list[Paired]:
    return [Paired(comparison.own.successes(key), comparison.other.successes(key))
            for comparison in compared]


def difference_cells(heading: str, inference: Inference | None, better: int) -> dict[str, str]:
    """The cells of one difference; / if it does not exist (None).

    better: the sign of an improvement.
    """
    headings = {"difference": heading, "of each seed": f"{heading} of each seed",
                "95%, seeds": f"{heading} 95%, seeds", "p, seeds": f"{heading} p, seeds",
                "p, images": f"{heading} p, images"}
    verdict = f"{heading} verdict"
    if inference is None:
        return dict.fromkeys([*headings.values(), verdict], NONE)
    cells = {headings[key]: value for key, value in level_cells(inference).items()}
    return cells | {verdict: _verdict(inference, better)}


def _verdict(inference: Inference, better: int) -> str:
    if not inference.shown_for_counters:
        return Cell("-", {"": NOT_SHOWN})
    verdict = "better" if inference.value * better > 0 else "worse"
    return verdict if inference.shown else f"{FOR_COUNTERS}{verdict}"


def _legend(defense: str, tests: int) -> str:
    return (
        f"Each difference is {defense} minus the defense that it is compared with, on the same "
        "images and seeds. The flip rate is the share of images that the trigger moves into "
        "success; lower is better. rho_Acc is the share of clean images that are counted to "
        f"within 10% of the truth; higher is better. {INTERVAL} "
        f"{level_legend(tests)} The verdict is 'better' or 'worse' where a difference is shown for "
        "the defense, has 'these counters:' before it where it is shown for these counters only, "
        "and is '-' where none is shown.")
