"""Questions of the findings: paired tests of victims against clean counters and other defenses."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from benchmark.metrics.significance import LEVEL, holm, mcnemar
from benchmark.paper.measured_claims import paper_defense
from benchmark.paper.trends import GROWTH, flips_beyond, steps
from benchmark.results.scenarios import Scenario, defense_settings, short_name, suffixes
from benchmark.tables.formats import Table, number, probability

ANSWERS = ("yes", "the opposite", "not shown")
RIVALS = ("retrain", "fine_tune_few", "continue_poisoned", "label_consistency", "none")
CLEAN_COUNTER = "the clean counter"

NamedScenarios = Sequence[tuple[str, Scenario]]


@dataclass(frozen=True)
class PairedTest:
    """A row of a question: a victim and another counter, on the same images and seeds.

    own, other: the successes of each image, bool or int [S, N], of the victim and of the other.
    """

    victim: str
    compared_with: str
    own: np.ndarray
    other: np.ndarray


@dataclass(frozen=True)
class Question:
    """A question that each paired test answers for one victim.

    yes: the sign of own share minus other share that means yes, 1 or -1. note: names both shares.
    """

    name: str
    title: str
    yes: int
    tests: list[PairedTest]
    note: str

    def answer(self, difference: float, p: float) -> str:
        """One of ANSWERS, for a difference of the shares and its adjusted p value."""
        yes, opposite, not_shown = ANSWERS
        if p >= LEVEL:
            return not_shown
        return yes if difference * self.yes > 0 else opposite


def answered(questions: Sequence[Question]) -> list[Table]:
    """A table for each question, with p values that are adjusted for the tests of all questions."""
    tests = [test for question in questions for test in question.tests]
    adjusted = iter(holm([mcnemar(test.own, test.other) for test in tests]))
    explanation = (
        "difference: share minus other share. p: exact McNemar test over images (with several "
        "seeds, a sign-flip test of their sums), with Holm's correction over the "
        f"{len(tests)} tests of this page. It is about these counters, not about others trained in "
        f"the same way. 'not shown' means p >= {LEVEL}, which proves nothing either way.")
    tables = []
    for question in questions:
        lines = []
        for test, p in zip(question.tests, adjusted):
            difference = test.own.mean() - test.other.mean()
            lines.append({
                "victim": test.victim, "compared with": test.compared_with,
                "share": number(test.own.mean()), "other share": number(test.other.mean()),
                "difference": f"{difference:+.3f}", "p": probability(p),
                "answer": question.answer(difference, p)})
        notes = [f"{question.note} {explanation}"]
        tables.append(Table(question.name, question.title, pd.DataFrame(lines), notes))
    return tables


def questions(victims: NamedScenarios, clean: NamedScenarios) -> list[Question]:
    """The questions that victims and clean counters with these names have tests for."""
    candidates = [
        Question(
            "trigger", "Does the trigger flip more images in the victim than in a clean counter?",
            1, list(_against_clean_counter(victims, "flip_rate")),
            "share: flip rate of the victim. other share: flip rate of the clean counter on the "
            "same images."),
        Question(
            "accuracy", "Does poisoning cost accuracy?",
            -1, list(_against_clean_counter(victims, "rho_acc")),
            "share: rho_Acc of the victim. other share: rho_Acc of the clean counter."),
        *(_growth_question(victims, key, title) for key, title in GROWTH.items()),
        Question(
            "fine_tune_flip_rate", "Does the paper's fine-tuning leave fewer flips?",
            -1, list(_against_rivals(victims, "flip_rate")),
            "share: flip rate with fine_tune. other share: flip rate with the other defense, on "
            "the same victim and images."),
        Question(
            "fine_tune_rho_acc", "Does the paper's fine-tuning count more clean images right?",
            1, list(_against_rivals([*victims, *clean], "rho_acc")),
            "share: rho_Acc with fine_tune. other share: rho_Acc with the other defense, on the "
            "same counter and images.")]
    return [question for question in candidates if question.tests]


def _growth_question(victims: NamedScenarios, key: str, title: str) -> Question:
    tests = [PairedTest(step.name, step.other_setting, flips_beyond(step.victim),
                        flips_beyond(step.other)) for step in steps(victims, key)]
    return Question(
        f"growth_{short_name(key)}", title, 1, tests,
        "share: flip rate of the victim minus that of the clean counter with the same trigger. "
        "other share: the same difference for a victim with the smaller value, on the same images. "
        "The clean counter's flips are subtracted because the trigger's effect on any counter is "
        "no growth of the backdoor. At most 1 - base of the images can flip; where nearly all of "
        "them do, compare the attainment.")


def _against_clean_counter(victims: NamedScenarios, key: str) -> Iterator[PairedTest]:
    """Undefended victims and their clean counters."""
    for name, scenario in victims:
        for result in filter(None, scenario.defended("none")):
            reference = result.successes(f"reference_{key}")
            if reference.size:
                yield PairedTest(name, CLEAN_COUNTER, result.successes(key), reference)


def _against_rivals(victims: NamedScenarios, key: str) -> Iterator[PairedTest]:
    """The paper's defense and each of its rivals, on the same victims and seeds."""
    pairs = []
    for name, scenario in victims:
        own = paper_defense(scenario)
        if not own:
            continue
        for rival in RIVALS:
            for other in filter(None, scenario.defended(rival)):
                if other.seeds == own.seeds and other.successes(key).size:
                    pairs.append((name, own, other))
    endings = suffixes([defense_settings(other) for *_, other in pairs], shown=("model", "defense"))
    for (name, own, other), ending in zip(pairs, endings):
        yield PairedTest(name, other.defense + ending, own.successes(key), other.successes(key))


def summary(tables: Iterable[Table]) -> Table:
    """The number of victims for each answer to each question."""
    lines = []
    for table in tables:
        for other, rows in table.frame.groupby("compared with", sort=False):
            line = {"question": table.title, "compared with": other, "victims": str(len(rows))}
            for answer in ANSWERS:
                line[answer] = str(int((rows["answer"] == answer).sum()))
            lines.append(line)
    return Table("in_short", "In short", pd.DataFrame(lines), [
        "The number of victims for which the answer is yes, the opposite, or not shown (p >= "
        f"{LEVEL} after correction). The tables below have the numbers.",
        "A counter that counts every image wrong can have a flip rate of 0: read its flip rate "
        "together with its rho_Acc."])
