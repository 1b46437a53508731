"""The paper's claims, each with what these records show.

Luo, CONF-CIAP 2025, doi 10.4108/eai.17-1-2025.2355235.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import pandas as pd

from benchmark.metrics.significance import ENOUGH_SEEDS
from benchmark.paper.answers import (OPPOSITE, OPPOSITE_HERE, YES, YES_HERE, Answer, Answered,
                                     count)
from benchmark.paper.questions import CLEAN_COUNTER, DEFENSE
from benchmark.tables.formats import Table, signed

FALL = 0.725  # the largest fall of rho_Asr: the abstract's 72.5% are points, .991 - .266

Answers = Mapping[str, Sequence[Answer]]  # by the name of the question
ClaimRow = tuple[str, str, str]  # the claim, what these records show, the verdict


def claim_table(page: Iterable[Answered], victims: Collection[str]) -> Table:
    """A row for each claim that these victims can test, in the paper's order.

    victims: the names of those with the most common settings.
    """
    answers = {asked.question.name: [answer for answer in asked.answers
                                     if answer.test.victim in victims] for asked in page}
    rows = [
        *_tested(answers, "trigger", CLEAN_COUNTER, "The attacks succeed",
                 "the trigger flips more images than in the clean counter"),
        *_cost(answers.get("accuracy", [])),
        *_tested(answers, f"{DEFENSE}_flip_rate", "none", "Fine-tuning weakens the attacks",
                 "fewer flips than without a defense"),
        *_largest_fall(answers.get(f"{DEFENSE}_rho_asr", [])),
        *_tested(answers, f"{DEFENSE}_extreme", "none",
                 "Fine-tuning weakens all attacks where their errors are extreme",
                 "fewer counts off by > 0.5 than without a defense"),
        *_tested(answers, f"{DEFENSE}_rho_acc", "none",
                 "Fine-tuning improves the accuracy on clean images",
                 "more clean images counted right than without a defense")]
    columns = ["claim of the paper", "in these records", "verdict"]
    return Table("claims", "The paper's claims", pd.DataFrame(rows, columns=columns), [
        "Only victims with the most common settings are included. A claim about an attack or a "
        "defense holds for a victim if the test over images and that over seeds both show it, and "
        f"is not established with fewer than {ENOUGH_SEEDS} seeds. The paper does not compare its "
        "fine-tuning with retraining on the same images, or with fine-tuning on 40 images; the "
        "next table does."])


def _tested(answers: Answers, question: str, compared_with: str, claim: str,
            measured: str) -> Iterator[ClaimRow]:
    """The claim that the answer to a question is yes for all victims, if the question was asked."""
    asked = [answer for answer in answers.get(question, [])
             if answer.test.compared_with == compared_with]
    if not asked:
        return
    yes, opposite = count(asked, YES), count(asked, OPPOSITE)
    verdict = "holds" if yes == len(asked) else "holds for some"
    if not yes:
        verdict = OPPOSITE if opposite else "not shown"
    yield claim, f"{measured}: {_shown(asked)}", _with_enough_seeds(asked, verdict)


def _shown(asked: Sequence[Answer]) -> str:
    """For how many victims something is shown, and the opposite of it."""
    parts = [f"shown for {count(asked, YES)} of {len(asked)} victims"]
    for text, start in ((YES_HERE, "shown for these counters only"), (OPPOSITE, "opposite shown"),
                        (OPPOSITE_HERE, "opposite shown for these counters only")):
        number = count(asked, text)
        if number:
            parts.append(f"{start}: {number}")
    return "; ".join(parts)


def _cost(asked: Sequence[Answer]) -> Iterator[ClaimRow]:
    if not asked:
        return
    falls = count(asked, YES)
    worst = min(answer.inference.value for answer in asked)
    yield ("Poisoning does not decrease the accuracy on clean images much",
           f"a lower rho_Acc than the clean counter's: {_shown(asked)}; worst difference "
           f"{signed(worst)}",
           _with_enough_seeds(asked, "contradicted" if falls else "not contradicted"))


def _largest_fall(asked: Sequence[Answer]) -> Iterator[ClaimRow]:
    """The claim about the largest fall of rho_Asr: a number of these counters, without a test."""
    if not asked:
        return
    fall = -min(answer.inference.value for answer in asked)
    yield (f"Fine-tuning reduces rho_Asr by up to {FALL:.1%}, which are percentage points",
           f"by up to {100 * fall:.1f} percentage points, as the mean over seeds",
           "reached" if fall >= FALL else "not reached")


def _with_enough_seeds(asked: Sequence[Answer], verdict: str) -> str:
    """A verdict on a method, which takes enough seeds of every victim."""
    seeds = min(len(answer.inference.by_seed) for answer in asked)
    if seeds >= ENOUGH_SEEDS:
        return verdict
    return f"not established ({seeds} seed{'s' if seeds > 1 else ''})"
