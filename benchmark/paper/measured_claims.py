"""The paper's claims, each with what these records show.

Luo, CONF-CIAP 2025, doi 10.4108/eai.17-1-2025.2355235.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from benchmark.results.result import Result
from benchmark.results.scenarios import Scenario
from benchmark.tables.formats import Table, number
from benchmark.utils.errors import UserError

DEFENSE = "fine_tune"  # the paper's
FALL = 0.725  # the largest fall of rho_Asr: the abstract's 72.5% are points, .991 - .266

Repaired = tuple[str, Result, Result]  # a victim's name, its results without and with the defense
ClaimRow = tuple[str, str, str]  # the claim, what these records show, the verdict


def claim_table(answered: Iterable[Table], victims: Mapping[str, Scenario]) -> Table:
    """A row for each claim that these victims can test, in the paper's order.

    answered: the questions of the findings. victims: by name, those with the most common settings.
    """
    frames = {table.name: table.frame[table.frame["victim"].isin(victims)] for table in answered}
    rows = [
        *_tested(frames, "trigger", "the clean counter", "The attacks succeed",
                 "the trigger flips more images than in the clean counter"),
        *_cost(frames),
        *_tested(frames, f"{DEFENSE}_flip_rate", "none", "Fine-tuning weakens the attacks",
                 "fewer flips than without a defense"),
        *_extremes(_repaired(victims.items())),
        *_tested(frames, f"{DEFENSE}_rho_acc", "none",
                 "Fine-tuning improves the accuracy on clean images",
                 "more clean images counted right than without a defense")]
    columns = ["claim of the paper", "in these records", "verdict"]
    return Table("claims", "The paper's claims", pd.DataFrame(rows, columns=columns), [
        "Only victims with the most common settings are included. The paper does not compare its "
        "fine-tuning with retraining on the same images, or with fine-tuning on 40 images; the "
        "next table does."])


def _tested(frames: dict[str, pd.DataFrame], question: str, compared_with: str, claim: str,
            measured: str) -> Iterator[ClaimRow]:
    """The claim that the answer to a question is yes for all victims, if the question was asked."""
    if question not in frames:
        return
    frame = frames[question]
    answers = frame.loc[frame["compared with"] == compared_with, "answer"]
    if answers.empty:
        return
    yes = int((answers == "yes").sum())
    opposite = int((answers == "the opposite").sum())
    yield (claim, f"{measured}: shown for {yes} of {len(answers)} victims, the opposite shown for "
           f"{opposite}", _verdict(yes, len(answers), "the opposite" if opposite else "not shown"))


def _verdict(holding: int, victims: int, none: str) -> str:
    """The verdict on a claim that holds for some number of victims. none: the verdict for 0."""
    if holding == 0:
        return none
    return "holds" if holding == victims else "holds for some"


def _cost(frames: dict[str, pd.DataFrame]) -> Iterator[ClaimRow]:
    frame = frames.get("accuracy", pd.DataFrame())
    if frame.empty:
        return
    falls = int((frame["answer"] == "yes").sum())
    worst = min(frame["difference"], key=float)
    yield ("Poisoning does not decrease the accuracy on clean images much",
           f"a lower rho_Acc than the clean counter's: shown for {falls} of {len(frame)} victims; "
           f"worst difference {worst}", "contradicted" if falls else "not contradicted")


def _extremes(repaired: Sequence[Repaired]) -> Iterator[ClaimRow]:
    """The claims about the largest fall of rho_Asr and about large errors."""
    if not repaired:
        return
    largest = max(_fall(before, after) for _, before, after in repaired)
    yield (f"Fine-tuning reduces rho_Asr by up to {FALL:.1%}, which are percentage points",
           f"by up to {100 * largest:.1f} percentage points",
           "holds" if largest >= FALL else "not reached")
    fewer = sum(_extreme(after) < _extreme(before) for _, before, after in repaired)
    yield ("Fine-tuning weakens all attacks where their errors are extreme",
           f"fewer counts off by > 0.5: {fewer} of {len(repaired)} victims, without a significance "
           "test", _verdict(fewer, len(repaired), "does not hold"))


def extreme_tables(named: Iterable[tuple[str, Scenario]]) -> list[Table]:
    """A table of the victims before and after the paper's defense; no table if it was not run.

    named: the victims with their names.
    """
    lines = [{"victim": name,
              "rho_Asr": number(before.numbers["rho_asr"]),
              f"rho_Asr, {DEFENSE}": number(after.numbers["rho_asr"]),
              "off by > 0.5": number(_extreme(before)),
              f"off by > 0.5, {DEFENSE}": number(_extreme(after)),
              "rho_Asr reduced by": number(_fall(before, after))}
             for name, before, after in _repaired(named)]
    if not lines:
        return []
    title = "Does fine-tuning weaken the attacks where their errors are extreme?"
    return [Table("extremes", title, pd.DataFrame(lines), [
        "off by > 0.5: share of triggered images whose count is off by more than half of the true "
        "count, in the attacker's direction."])]


def paper_defense(scenario: Scenario) -> Result | None:
    """A victim's result with the paper's defense; None if it was not run.

    Raises:
        UserError: it was run with several settings, and never with its own defaults.
    """
    results = [result for result in scenario.defended(DEFENSE) if result]
    if len(results) < 2:
        return results[0] if results else None
    for result in results:
        if not result.records[0].defense.given:
            return result
    raise UserError(f"findings: {scenario.model}, {scenario.attack}: {DEFENSE} with {len(results)} "
                    "settings; expected one setting, or one of them without given settings")


def _repaired(named: Iterable[tuple[str, Scenario]]) -> list[Repaired]:
    """Victims before and after the paper's defense, for the seeds that the defense was run with.

    Only attacks with a direction, towards more or fewer people, have a rho_Asr and are included.
    """
    repaired = []
    for name, scenario in named:
        undefended = scenario.defended("none")[0]
        after = paper_defense(scenario)
        before = undefended.of(after.seeds) if undefended and after else None
        if before and before.successes("rho_asr").size:
            repaired.append((name, before, after))
    return repaired


def _fall(before: Result, after: Result) -> float:
    """The fall of rho_Asr by the defense."""
    return before.numbers["rho_asr"] - after.numbers["rho_asr"]


def _extreme(result: Result) -> float:
    """Share of triggered images off by more than half of the truth, in the attacker's direction."""
    share = result.numbers["band 0.5-1"]
    above = result.numbers["band >1"] if result.records[0].attack.increases else np.nan
    return float(np.nansum([share, above]))
