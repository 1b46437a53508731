"""The paper's claims beside what these records say of them: Luo, CONF-CIAP 2025, doi 10.4108/eai.17-1-2025.2355235."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from benchmark.results.result import Result
from benchmark.results.scenarios import Scenario
from benchmark.tables.formats import Table, number
from benchmark.utils.errors import UserError

PAPERS = "fine_tune"
FALL = 0.725  # the largest fall of rho_Asr by fine-tuning: the abstract's 72.5% are points, .991 less .266
Repaired = tuple[str, Result, Result]  # a victim's name, itself, and what the paper's defense made of it
# A claim of the paper, what is counted of the victims, the question's table, and beside what
TESTED = [("the attacks succeed", "the trigger moves more images than in a clean counter", "trigger", None),
          ("fine-tuning weakens them", "fewer flips than without it", f"{PAPERS}_flip_rate", "none"),
          ("fine-tuning improves accuracy on clean images", "more of them right than without it",
           f"{PAPERS}_rho_acc", "none")]


def claims(answered: Iterable[Table], victims: Mapping[str, Scenario]) -> Table:
    """A row per claim that these victims can tell of, in the paper's order.

    answered: the questions of the findings. victims: by name, those with the usual settings.
    """
    frames = {table.name: table.frame[table.frame["victim"].isin(victims)] for table in answered}
    success, weaker, accuracy = (list(_tested(frames, *one)) for one in TESTED)
    rows = [*success, *_cost(frames), *weaker, *_extremes(_repaired(victims.items())), *accuracy]
    return Table("claims", "The paper's claims", pd.DataFrame(rows, columns=["the paper", "here", "verdict"]), [
        "Of the victims with the usual settings. Whether fine-tuning does better than retraining on the same images, "
        "or than 40 images, the paper does not ask; the next table does."])


def _tested(frames: dict[str, pd.DataFrame], claim: str, counted: str, name: str,
            beside: str | None) -> Iterator[tuple[str, str, str]]:
    rows = frames.get(name, pd.DataFrame())
    if beside and len(rows):
        rows = rows[rows["beside"] == beside]
    if len(rows):
        yes, opposite = (int((rows["answer"] == answer).sum()) for answer in ("yes", "the opposite"))
        verdict = ("holds" if yes == len(rows) else "holds for some" if yes else "the opposite" if opposite else
                   "not shown")
        yield claim, f"{counted}: shown for {yes} of {len(rows)}, the opposite for {opposite}", verdict


def _cost(frames: dict[str, pd.DataFrame]) -> Iterator[tuple[str, str, str]]:
    if len(rows := frames.get("accuracy", pd.DataFrame())):
        falls = int((rows["answer"] == "yes").sum())
        worst = min(rows["difference"], key=float)
        yield ("poisoning does not decrease the accuracy on clean images much",
               f"a fall of rho_Acc: shown for {falls} of {len(rows)}; at worst {worst}",
               "contradicted" if falls else "not contradicted")


def _extremes(pairs: Sequence[Repaired]) -> Iterator[tuple[str, str, str]]:
    if not pairs:
        return
    most = max(_fall(before, after) for _, before, after in pairs)
    yield (f"fine-tuning reduces rho_Asr by up to {FALL:.1%}, which are points", f"by up to {100 * most:.1f} points",
           "holds" if most >= FALL else "not reached")
    fewer = sum(_extreme(after) < _extreme(before) for _, before, after in pairs)
    yield ("and weakens all attacks where they are extreme", f"fewer counts off by > 0.5: {fewer} of {len(pairs)}, "
           "without a test", "holds" if fewer == len(pairs) else "holds for some" if fewer else "does not hold")


def extremes(named: Iterable[tuple[str, Scenario]]) -> list[Table]:
    """A table of the victims that the paper's defense was run on, before and after it; none where there is no such.

    named: the victims and their names.
    """
    lines = [{"victim": name, "rho_Asr": number(before.numbers["rho_asr"]),
              f"rho_Asr, {PAPERS}": number(after.numbers["rho_asr"]), "off by > 0.5": number(_extreme(before)),
              f"off by > 0.5, {PAPERS}": number(_extreme(after)),
              "rho_Asr reduced by": number(_fall(before, after))}
             for name, before, after in _repaired(named)]
    return [Table("extremes", "Is the attack weakened where it is extreme?", pd.DataFrame(lines), [
        "off by > 0.5: triggered images whose count is off by more than half of the truth, in the attacker's "
        "direction."])] if lines else []


def papers(scenario: Scenario) -> Result | None:
    """What the paper's defense made of a victim; None where it was not run.

    Raises:
        UserError: it was run with several settings, none of them its own.
    """
    results = [result for result in scenario.defended(PAPERS) if result]
    own = results if len(results) < 2 else [result for result in results if not result.records[0].defense.given]
    if results and not own:
        raise UserError(f"findings: {scenario.model}, {scenario.attack}: {PAPERS} with {len(results)} settings; expected "
                        "one, or among them its own, without any given")
    return own[0] if own else None


def _repaired(named: Iterable[tuple[str, Scenario]]) -> list[Repaired]:
    """Of the victims whose attacker wants more people, or fewer, and of the seeds that were repaired."""
    both = [(name, scenario.defended("none")[0], papers(scenario)) for name, scenario in named]
    both = [(name, before and after and before.of(after.seeds), after) for name, before, after in both]
    return [(name, before, after) for name, before, after in both if before and before.successes("rho_asr").size]


def _fall(before: Result, after: Result) -> float:
    """By how much the defense reduces rho_Asr."""
    return before.numbers["rho_asr"] - after.numbers["rho_asr"]


def _extreme(result: Result) -> float:
    upper = result.numbers["band >1"] if result.records[0].attack.increases else np.nan
    return float(np.nansum([result.numbers["band 0.5-1"], upper]))
