"""Answers: what paired tests at two levels say to a question, and the tables of the answers."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from benchmark.metrics.paired import Inference, Paired, infer
from benchmark.metrics.significance import ENOUGH_SEEDS
from benchmark.tables.formats import Table, number
from benchmark.tables.two_levels import INTERVAL, level_cells, level_legend

YES, OPPOSITE, NOT_SHOWN = "yes", "the opposite", "not shown"
YES_HERE, OPPOSITE_HERE = f"these counters: {YES}", f"these counters: {OPPOSITE}"
ANSWERS = (YES, OPPOSITE, YES_HERE, OPPOSITE_HERE, NOT_SHOWN)


@dataclass(frozen=True)
class PairedTest:
    """A row of a question: a victim and another counter, on the same images and seeds.

    pair: the successes of the victim and of the other, bool or int [S, N].
    """

    victim: str
    compared_with: str
    pair: Paired


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

    def answer(self, inference: Inference) -> str:
        """One of ANSWERS."""
        if not inference.shown_for_counters:
            return NOT_SHOWN
        if inference.value * self.yes > 0:
            return YES if inference.shown else YES_HERE
        return OPPOSITE if inference.shown else OPPOSITE_HERE


@dataclass(frozen=True)
class Answer:
    """The answer of one test to a question. text: one of ANSWERS."""

    test: PairedTest
    inference: Inference
    text: str


@dataclass(frozen=True)
class Answered:
    """A question and its answers. of_page: the number of tests of all questions of the page."""

    question: Question
    answers: list[Answer]
    of_page: int

    def table(self) -> Table:
        """A row for each answer."""
        lines = []
        for answer in self.answers:
            test = answer.test
            lines.append({"victim": test.victim, "compared with": test.compared_with,
                          "share": number(test.pair.own.mean()),
                          "other share": number(test.pair.other.mean()),
                          **level_cells(answer.inference), "answer": answer.text})
        notes = [f"{self.question.note} difference: share minus other share. {INTERVAL} "
                 f"{level_legend(len(self.answers), self.of_page)}"]
        return Table(self.question.name, self.question.title, pd.DataFrame(lines), notes)


def answered(questions: Sequence[Question]) -> list[Answered]:
    """The questions of a page with their answers."""
    inferences = infer([[test.pair for test in question.tests] for question in questions])
    of_page = sum(map(len, inferences))
    return [Answered(question, [Answer(test, inference, question.answer(inference))
                                for test, inference in zip(question.tests, of_question)], of_page)
            for question, of_question in zip(questions, inferences)]


def summary(page: Iterable[Answered]) -> Table:
    """The number of victims for each answer to each question."""
    lines = []
    for asked in page:
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for answer in asked.answers:
            counts[answer.test.compared_with][answer.text] += 1
        for other, texts in counts.items():
            line = {"question": asked.question.title, "compared with": other,
                    "victims": str(texts.total())}
            lines.append(line | {text: str(texts[text]) for text in ANSWERS})
    return Table("in_short", "In short", pd.DataFrame(lines), [
        f"The number of victims for each answer. '{YES}' and '{OPPOSITE}' are shown for the "
        "method, by the test over images and by that over seeds, which takes at least "
        f"{ENOUGH_SEEDS} seeds. What else the test over images shows is an answer for these "
        "counters. The tables below have the numbers.",
        "A counter that counts every image wrong can have a flip rate of 0: read its flip rate "
        "together with its rho_Acc."])


def count(answers: Sequence[Answer], text: str) -> int:
    """The number of answers with this text, which is one of ANSWERS."""
    return sum(answer.text == text for answer in answers)
