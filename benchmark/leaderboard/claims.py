"""The paper's claims beside what these records say of them: Luo, CONF-CIAP 2025, doi 10.4108/eai.17-1-2025.2355235."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from benchmark.leaderboard.cell import Cell
from benchmark.leaderboard.cells import Scenario
from benchmark.leaderboard.formats import NONE, Table, number

PAPERS = "fine_tune"
FALL = 0.725  # the largest fall of rho_Asr by fine-tuning, as the paper's abstract has it
Repaired = tuple[str, Cell, Cell]  # a victim's name, itself, and what the paper's defense made of it
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
    if falls := [fall for _, before, after in pairs if (fall := _fall(before, after)) is not None]:
        yield (f"fine-tuning reduces rho_Asr by up to {FALL:.1%}", f"by up to {max(falls):.0%}",
               "holds" if max(falls) >= FALL else "not reached")
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
              "rho_Asr reduced by": NONE if (fall := _fall(before, after)) is None else f"{fall:.0%}"}
             for name, before, after in _repaired(named)]
    return [Table("extremes", "Is the attack weakened where it is extreme?", pd.DataFrame(lines), [
        "off by > 0.5: triggered images whose count is off by more than half of the truth, in the attacker's "
        "direction."])] if lines else []


def _repaired(named: Iterable[tuple[str, Scenario]]) -> list[Repaired]:
    both = [(name, scenario.defended("none")[0], scenario.defended(PAPERS)[0]) for name, scenario in named]
    return [(name, before, after) for name, before, after in both if before and after]


def _fall(before: Cell, after: Cell) -> float | None:
    """By which share the defense reduces rho_Asr; None where there was none."""
    return 1 - after.numbers["rho_asr"] / before.numbers["rho_asr"] if before.numbers["rho_asr"] else None


def _extreme(cell: Cell) -> float:
    upper = cell.numbers["band >1"] if cell.records[0].attack.increases else np.nan
    return float(np.nansum([cell.numbers["band 0.5-1"], upper]))
