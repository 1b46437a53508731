"""Records beside those of the same cells, run again: whether their counts agree, and how far that proves an entry."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from benchmark.metrics.significance import holm, mcnemar
from benchmark.results.record import Record
from benchmark.results.result import Result
from benchmark.results.scenarios import cell_of, settings_of
from benchmark.tables.formats import NONE, Table, number

LEVEL = 0.05
SAME, ALIKE, DIFFERS = "the same", "no difference shown", "differs"
RECOMPUTED = "recomputed from counts"
COUNTS = ("clean", "triggered", "reference_clean", "reference_triggered")
NUMBERS = {"rho_Acc": "rho_acc", "MAE": "mae", "rho_Asr": "rho_asr", "flip rate": "flip_rate",
           "attainment": "attainment"}


def comparison(pairs: Sequence[tuple[Record, Record]]) -> tuple[Table, bool]:
    """Records beside those of the same cells, run again, and whether all agree.

    They agree if no count differs by more than rounding, or if neither rho_Acc nor the flip rate differs significantly
    (exact McNemar test, Holm's correction): another machine rounds otherwise. What was run again must be what the
    record says, the settings, the images' ids and true counts, and the attacker's counts.
    """
    wrong = [_contradicted(was, now) for was, now in pairs]
    cells = [[Result(settings_of(one), (one,)) for one in pair] for pair, other in zip(pairs, wrong) if not other]
    tests = [_p(was.successes(key), now.successes(key)) for key in ("rho_acc", "flip_rate") for was, now in cells]
    compared = iter(zip(cells, np.array(holm(tests) if tests else []).reshape(2, -1).T))
    lines = [{"cell": _name(was), "verdict": DIFFERS} if other else _line(*next(compared))
             for (was, _), other in zip(pairs, wrong)]
    frame = pd.DataFrame(lines, columns=["cell", "largest difference", *NUMBERS, "p", "verdict"]).fillna(NONE)
    return Table("reproduction", "Records / the same cells, run again", frame, [
        *(f"{_name(was)}: not what the record says was run: {other}."
          for (was, _), other in zip(pairs, wrong) if other),
        "largest difference: of a count of a test image, in people. p: the smaller of those of rho_Acc and of the flip "
        f"rate, exact McNemar tests with Holm's correction over the table. 'differs': p < {LEVEL}."
    ]), DIFFERS not in frame["verdict"].tolist()


def _line(pair: Sequence[Result], p: np.ndarray) -> dict[str, str]:
    """A row of a cell and the same, run again. p: of the two tests, corrected."""
    was, now = pair
    off = _largest_difference(was.records[0], now.records[0])
    verdict = SAME if off < 0.01 else ALIKE if p.min() >= LEVEL else DIFFERS
    numbers = {heading: " / ".join(number(one.numbers.get(key, np.nan)) for one in pair)
               for heading, key in NUMBERS.items()}
    return {"cell": _name(was.records[0]), "largest difference": number(off, 2)} | numbers | {
        "p": NONE if verdict == SAME else number(float(p.min())), "verdict": verdict}


def verdicts(cells: Sequence[Record], again: Sequence[Record]) -> list[str]:
    """Of each record that was run again: 'the same', 'no difference shown', 'differs', or why it is no such record."""
    known = {cell_of(record): record for record in cells}
    pairs = [(known.get(cell_of(record)), record) for record in again]
    found = [(was, now) for was, now in pairs if was and was != now]
    told = iter(comparison(found)[0].frame["verdict"] if found else [])
    return ["none of the entry's cells" if was is None else "the entry's own record" if was == now else next(told)
            for was, now in pairs]


def tier(cells: Sequence[Record], again: Sequence[Record]) -> str:
    """How far an entry is proven: its numbers follow from its counts, and some cells, or all, were run again."""
    said = verdicts(cells, again)
    held = {cell_of(record) for record, verdict in zip(again, said) if verdict in (SAME, ALIKE)}
    if DIFFERS in said:
        return "not reproduced"
    return f"re-run, {len(held)} of {len(cells)} cells" if held else RECOMPUTED


def _p(was: np.ndarray, now: np.ndarray) -> float:
    return mcnemar(was, now) if was.size else 1.0


def _contradicted(was: Record, now: Record) -> str | None:
    """What a record says that the same request does not make; settings that one of the two does not know are alike."""
    said, made = settings_of(was), settings_of(now)
    for key in sorted(said.keys() & made.keys() - {"data.images"}):
        if said[key] != made[key]:
            return f"{key} {said[key]}, but {made[key]}"
    data, again = (one.provenance.get("data", {}) for one in (was, now))
    for split in sorted(data.keys() & again.keys()):
        if data[split] != again[split]:
            return f"the {split} images, {data[split]}, but {again[split]}"
    for key in ("id", "truth", "target"):
        if getattr(was.images, key) != getattr(now.images, key):
            return f"images.{key}"
    return None


def _largest_difference(was: Record, now: Record) -> float:
    pairs = [(getattr(was.images, key) or [], getattr(now.images, key) or []) for key in COUNTS]
    return max(float(np.abs(np.subtract(*pair)).max(initial=0)) for pair in pairs)


def _name(record: Record) -> str:
    attack = f"{record.attack.trigger.name}/{record.attack.target.name}" if record.attack else "clean"
    return f"{record.model.name} {attack} {record.defense.name} seed {record.seed}"
