"""Table of strengths: what each repair tried, and what it kept."""

from collections.abc import Iterator, Sequence

from benchmark.results.scenarios import Scenario, row_suffixes
from benchmark.strengths import StrengthChoice, StrengthTrial
from benchmark.tables.formats import NONE, Table, as_frame, count, number

LEGEND = [
    "A repair of several strengths keeps the strongest one whose MAE on the clean validation "
    "images is at most 1.2 times the lowest one that it tried (defenses/parts/strength.py). "
    "Neither attack success nor a test image takes part.",
    "kept: the settings that were kept. channels: the number of pruned channels. MAE: of what was "
    "kept, on the clean validation images, in people; best MAE: the lowest of all that were tried. "
    "tried: the settings that were tried, from the weakest to the strongest, each with its MAE; "
    "failed where the training or the counts were not finite.",
]


def strength_table(scenarios: Sequence[Scenario]) -> Table:
    """A row for each choice of each repair; a fixed strength is no choice. It may have no rows."""
    pairs = [(scenario, result) for scenario in scenarios for result in scenario.results]
    lines = []
    for (scenario, result), (attack_suffix, defense_suffix) in zip(pairs, row_suffixes(pairs)):
        for record in result.records:
            for line in _lines(record.strengths):
                names = {"model": scenario.model, "attack": scenario.attack + attack_suffix,
                         "defense": result.defense + defense_suffix, "seed": count(record.seed)}
                lines.append(names | line)
    return Table("strengths", "Strengths of the repairs", as_frame(lines), LEGEND,
                 caption="The strengths that each defense tried, and the one that it kept for its "
                         "MAE on clean validation images.")


def _lines(choices: Sequence[StrengthChoice]) -> Iterator[dict[str, str]]:
    for choice in choices:
        if len(choice.tried) > 1:
            errors = [trial.validation_mae for trial in choice.tried
                      if trial.validation_mae is not None]
            kept = choice.trial
            yield {"kept": _settings(kept),
                   "channels": NONE if kept.channels is None else count(kept.channels),
                   "MAE": _error(kept), "best MAE": number(min(errors), 2),
                   "tried": "; ".join(f"{_settings(trial)}: {_error(trial)}"
                                      for trial in choice.tried)}


def _settings(trial: StrengthTrial) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in trial.settings.items())


def _error(trial: StrengthTrial) -> str:
    return "failed" if trial.validation_mae is None else number(trial.validation_mae, 2)
