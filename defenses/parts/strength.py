"""Strength of a repair: of several candidates, the strongest one that keeps the clean quality.

A repair may be weak or strong: its learning rate, its rounds, or the share of channels that it
prunes decide it. Each such repair makes candidates of several strengths, and one rule chooses
among them:

    keep the strongest candidate whose MAE on the clean validation images is at most BUDGET times
    the lowest MAE of all candidates

The rule is the same for all repairs. The settings that the method's authors use are always among
the candidates. Neither attack success nor a test image takes part in the choice. The lowest error
itself would be the wrong choice: the candidate with the lowest error is usually the one that
changes the victim least. BackdoorBench (Wu et al., NeurIPS 2022) stops pruning in a similar way,
when the accuracy has fallen by a tenth; for a classifier with 92% accuracy the error may double.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from benchmark.strengths import StrengthTrial
from benchmark.training.loop import TrainingFailed
from defenses.base import Knowledge
from models.base import Counter

BUDGET = 1.2  # the largest MAE that is accepted, as a multiple of the lowest one


@dataclass(frozen=True)
class Candidate:
    """A repair of one strength.

    settings: the settings that determine the strength, for the record.
    make: makes the repaired counter.
    channels: the number of channels that it prunes; None for a repair that prunes none.
    """

    settings: dict[str, float]
    make: Callable[[], Counter]
    channels: int | None = None


def strongest(candidates: Iterable[Candidate], knowledge: Knowledge) -> Counter:
    """The repaired counter of the strongest candidate within the budget.

    candidates: at least one, from the weakest to the strongest. The only one of a list is taken
        without measuring its error. Each is made before the next one is asked for. A candidate
        whose training fails, for instance because its loss is not finite, is not taken.

    What was tried and what was kept is reported to `knowledge`, for the record.

    Raises:
        TrainingFailed: the trainings of all candidates fail.
    """
    if isinstance(candidates, Sequence) and len(candidates) == 1:
        counter = candidates[0].make()
        knowledge.report_strengths([_trial(candidates[0], None)], 0)
        return counter
    tried: list[Candidate] = []
    errors: list[float] = []
    counters: dict[int, Counter] = {}  # the candidates that may be kept, by their place
    failure = None
    for place, candidate in enumerate(candidates):
        tried.append(candidate)
        try:
            counters[place] = candidate.make()
            errors.append(knowledge.error(counters[place]))
        except TrainingFailed as error:
            failure = error
            errors.append(math.inf)
        # Where the last one is within the budget, a weaker one can only be kept if its error is
        # lower. All others are dropped, as hundreds of counters may not fit into memory.
        limit = budget(errors)
        needed = errors[place] if errors[place] <= limit else math.inf
        counters = {earlier: counter for earlier, counter in counters.items()
                    if errors[earlier] <= limit and (earlier == place or errors[earlier] < needed)}
    if not counters:
        raise failure or TrainingFailed("every candidate counts nan or infinity on an image")
    kept = max(counters)
    trials = [_trial(candidate, error) for candidate, error in zip(tried, errors)]
    knowledge.report_strengths(trials, kept)
    return counters[kept]


def budget(errors: Sequence[float]) -> float:
    """The largest MAE that is accepted among candidates with these MAE; see the module's rule.

    Errors that are nan or infinite are ignored. Without any other, the budget is -infinity.

    >>> budget([10.0, 5.0, float("inf")])
    6.0
    """
    finite = [error for error in errors if math.isfinite(error)]
    return BUDGET * min(finite) if finite else -math.inf


def _trial(candidate: Candidate, error: float | None) -> StrengthTrial:
    measured = error is not None and math.isfinite(error)
    return StrengthTrial(settings=candidate.settings, validation_mae=error if measured else None,
                         channels=candidate.channels)
