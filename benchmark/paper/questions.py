"""Questions of the findings: paired tests of victims against clean counters and other defenses."""

from collections.abc import Iterator, Sequence

from benchmark.metrics.paired import Paired
from benchmark.paper.answers import PairedTest, Question
from benchmark.paper.trends import GROWTH, flips_beyond, steps
from benchmark.results.result import Result
from benchmark.results.scenarios import Scenario, defense_settings, short_name, suffixes
from benchmark.utils.errors import UserError

DEFENSE = "fine_tune"  # the paper's
RIVALS = ("retrain", "fine_tune_few", "continue_poisoned", "label_consistency", "none")
CLEAN_COUNTER = "the clean counter"
CONTROL = "the clean counter after fine_tune"

NamedScenarios = Sequence[tuple[str, Scenario]]


def questions(victims: NamedScenarios, clean: NamedScenarios) -> list[Question]:
    """The questions that victims and clean counters with these names have tests for."""
    candidates = [*_attack_questions(victims),
                  *(_growth_question(victims, key, title) for key, title in GROWTH.items()),
                  *_defense_questions(victims, clean)]
    return [question for question in candidates if question.tests]


def _attack_questions(victims: NamedScenarios) -> Iterator[Question]:
    yield Question(
        "trigger", "Does the trigger flip more images in the victim than in a clean counter?",
        1, list(_against_clean_counter(victims, "flip_rate")),
        "share: flip rate of the victim. other share: flip rate of the clean counter on the same "
        "images.")
    yield Question(
        "accuracy", "Does poisoning cost accuracy?",
        -1, list(_against_clean_counter(victims, "rho_acc")),
        "share: rho_Acc of the victim. other share: rho_Acc of the clean counter.")


def _growth_question(victims: NamedScenarios, key: str, title: str) -> Question:
    tests = [PairedTest(step.name, step.other_setting,
                        Paired(flips_beyond(step.victim), flips_beyond(step.other)))
             for step in steps(victims, key)]
    return Question(
        f"growth_{short_name(key)}", title, 1, tests,
        "share: flip rate of the victim minus that of the clean counter with the same trigger. "
        "other share: the same difference for a victim with the smaller value, on the same images. "
        "The clean counter's flips are subtracted because the trigger's effect on any counter is "
        "no growth of the backdoor. At most 1 - base of the images can flip; where nearly all of "
        "them do, compare the attainment.")


def _defense_questions(victims: NamedScenarios, clean: NamedScenarios) -> Iterator[Question]:
    yield Question(
        f"{DEFENSE}_flip_rate", "Does the paper's fine-tuning leave fewer flips?",
        -1, list(_against(victims, "flip_rate", RIVALS)),
        "share: flip rate with fine_tune. other share: flip rate with the other defense, on the "
        "same victim and images.")
    yield Question(
        f"{DEFENSE}_left", "Are the flips that fine-tuning leaves more than chance?",
        1, list(_against_control(victims, "flip_rate")),
        "share: flip rate of the victim after fine_tune. other share: flip rate of the clean "
        "counter after fine_tune, with the same trigger. A yes means that the backdoor is still "
        "there.")
    yield Question(
        f"{DEFENSE}_rho_acc", "Does the paper's fine-tuning count more clean images right?",
        1, list(_against([*victims, *clean], "rho_acc", RIVALS)),
        "share: rho_Acc with fine_tune. other share: rho_Acc with the other defense, on the same "
        "counter and images.")
    yield Question(
        f"{DEFENSE}_rho_asr", "Does the paper's fine-tuning reduce rho_Asr?",
        -1, list(_against(victims, "rho_asr", ["none"])),
        "share: rho_Asr with fine_tune. other share: rho_Asr without a defense.")
    yield Question(
        f"{DEFENSE}_extreme", "Does fine-tuning weaken the attacks where their errors are extreme?",
        -1, list(_against(victims, "extreme", ["none"])),
        "share: triggered images whose count is off by more than half of the true count, in the "
        "attacker's direction, with fine_tune. other share: the same without a defense.")


def _against_clean_counter(victims: NamedScenarios, key: str) -> Iterator[PairedTest]:
    """Undefended victims and their clean counters."""
    for name, scenario in victims:
        for result in filter(None, scenario.defended("none")):
            pair = Paired(result.successes(key), result.successes(f"reference_{key}"))
            if pair.other.size:
                yield PairedTest(name, CLEAN_COUNTER, pair)


def _against_control(victims: NamedScenarios, key: str) -> Iterator[PairedTest]:
    """Victims after the paper's defense, and their clean counters after the same."""
    for name, scenario in victims:
        result = _paper_defense(scenario)
        if result:
            pair = Paired(result.successes(key), result.successes(f"control_{key}"))
            if pair.own.shape == pair.other.shape and pair.own.size:
                yield PairedTest(name, CONTROL, pair)


def _against(victims: NamedScenarios, key: str, rivals: Sequence[str]) -> Iterator[PairedTest]:
    """The paper's defense and each of its rivals, on the same victims and its seeds."""
    found = []
    for name, scenario in victims:
        own = _paper_defense(scenario)
        if not own:
            continue
        for rival in rivals:
            for result in filter(None, scenario.defended(rival)):
                other = result.of(own.seeds)
                if other and other.successes(key).size:
                    found.append((name, own, other))
    endings = suffixes([defense_settings(other) for *_, other in found], shown=("model", "defense"))
    for (name, own, other), ending in zip(found, endings):
        yield PairedTest(name, other.defense + ending,
                         Paired(own.successes(key), other.successes(key)))


def _paper_defense(scenario: Scenario) -> Result | None:
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
