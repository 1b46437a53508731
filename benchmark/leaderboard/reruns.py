"""Reruns: whether the counts of cells that were run again agree, and the tier of an entry."""

from collections.abc import Sequence

import numpy as np

from benchmark.metrics.significance import LEVEL, holm, sign_flip_test
from benchmark.results.record import Record
from benchmark.results.result import Result
from benchmark.results.scenarios import cell_of, settings_of
from benchmark.tables.formats import NONE, Cell, Table, as_frame, number

SAME, ALIKE, DIFFERS = "the same", "no difference shown", "differs"
NOT_DETERMINISTIC = "not deterministic"
FAILED = {DIFFERS, NOT_DETERMINISTIC}
RECOMPUTED = "recomputed from counts"
TIERS = (
    "The tier says how far the numbers of an entry were checked: 'recomputed from counts', 're-run' "
    "where others ran cells again on another machine, and 'verified' where a maintainer ran cells "
    "with seeds that nobody chose, with the difference in RA from the entry's own seeds. "
    "'undecided' and 'not confirmed' are the other outcomes of that.")
ROUNDING = 0.01  # people; counts that differ by less are the same
# The columns of counts, and the counters in the order in which they are made.
COUNTS = {"reference_clean": "of the clean counter on clean images",
          "reference_triggered": "of the clean counter on triggered images",
          "clean": "of the repaired counter on clean images",
          "triggered": "of the repaired counter on triggered images",
          "control_clean": "of the repaired clean counter on clean images",
          "control_triggered": "of the repaired clean counter on triggered images"}
SCORES = ("clean", "triggered", "drift", "reference_clean", "reference_triggered")
COUNTERS = {"clean": "the clean (reference) counter", "victim": "the victim",
            "repaired": "the repaired counter", "control": "the repaired clean counter"}
# Where all of these are equal, nothing that a record tells explains different counts.
CIRCUMSTANCES = ("crowdbench", "commit", "dirty", "python", "packages", "device", "device_name",
                 "system", "cores", "threads", "precision", "processes", "switches")
NEEDED = ("packages", "device", "device_name", "threads")  # an older record may lack the others
TESTED = ("rho_acc", "flip_rate")
NUMBERS = {"rho_Acc": "rho_acc", "MAE": "mae", "rho_Asr": "rho_asr", "flip rate": "flip_rate",
           "attainment": "attainment"}
Pair = tuple[Record, Record]  # a record, and that of a rerun of its cell


def comparison(pairs: Sequence[Pair]) -> tuple[Table, bool]:
    """The table that compares records with reruns of their cells, and whether all agree.

    The settings, the ids and true counts of the images, and the attacker's counts must be equal. A
    rerun under the same circumstances must have the same counts and scores. Another machine rounds
    otherwise; there, a pair agrees if no count differs by more than rounding, or if neither rho_Acc
    nor the flip rate differs significantly (exact sign-flip test, Holm's correction).
    """
    rows, notes = _compared(pairs)
    notes += [
        "The largest difference is between two counts of one test image, in people. p is the "
        "smaller of those of rho_Acc and of the flip rate, by exact sign-flip tests with Holm's "
        f"correction over the table. The verdict is 'differs' if p < {LEVEL}, or if the rerun is "
        f"not of the same cell. It is '{NOT_DETERMINISTIC}' if any count or score differs although "
        "both records name the same machine, threads, versions and switches of torch; on a GPU, "
        "only if they say that torch's deterministic algorithms were on."]
    columns = ["cell", "largest difference", *NUMBERS, "p", "verdict"]
    frame = as_frame(rows, columns=columns).fillna(NONE)
    agree = FAILED.isdisjoint(frame["verdict"])
    return Table("reproduction", "Records / reruns of the same cells", frame, notes), agree


def _compared(pairs: Sequence[Pair]) -> tuple[list[dict[str, str]], list[str]]:
    """The row of each pair, and notes on those that contradict each other."""
    contradictions = [_contradiction(record, rerun) for record, rerun in pairs]
    compared = iter(_rows([pair for pair, wrong in zip(pairs, contradictions) if not wrong]))
    rows, notes = [], []
    for (record, rerun), contradiction in zip(pairs, contradictions):
        if contradiction:
            rows.append({"cell": _name(record), "verdict": DIFFERS})
            notes.append(f"{_name(record)}: the rerun is not of the same cell: {contradiction}.")
            continue
        rows.append(next(compared))
        if rows[-1]["verdict"] == NOT_DETERMINISTIC:
            notes.append(_accusation(record, rerun))
    return rows, notes


def verdicts(cells: Sequence[Record], reruns: Sequence[Record]) -> list[str]:
    """The verdict on each rerun of an entry, or why it is not a rerun.

    SAME, ALIKE, DIFFERS or NOT_DETERMINISTIC: see `comparison`.
    """
    by_cell = {cell_of(record): record for record in cells}
    pairs = [(by_cell.get(cell_of(rerun)), rerun) for rerun in reruns]
    comparable = [(record, rerun) for record, rerun in pairs
                  if record is not None and not is_copy(record, rerun)]
    compared = iter(_compared(comparable)[0])
    outcomes = []
    for record, rerun in pairs:
        if record is None:
            outcomes.append("not a cell of the entry")
        elif is_copy(record, rerun):
            outcomes.append("the entry's own record, or its counts to the last digit")
        else:
            outcomes.append(next(compared)["verdict"])
    return outcomes


def is_copy(record: Record, rerun: Record) -> bool:
    """Whether a rerun proves nothing: all counts and all scores are the record's.

    Whatever else differs, such as the machine or the commit, anybody can write into a copy, and
    another machine rounds differently. Counts are compared as the counters give them, in float32.
    """
    for key in COUNTS:
        counts, rerun_counts = getattr(record.images, key), getattr(rerun.images, key)
        if counts is not None and rerun_counts is not None and not _same(counts, rerun_counts):
            return False
    first, second = record.detection, rerun.detection
    if first is None or second is None:
        return first is second
    return all(_same(getattr(first, key), getattr(second, key)) for key in SCORES)


def _same(numbers: list[float], others: list[float]) -> bool:
    """Whether two columns are the same in float32."""
    with np.errstate(over="ignore"):
        return np.array_equal(np.float32(numbers), np.float32(others))


def tier(cells: Sequence[Record], reruns: Sequence[Record]) -> str:
    """The tier of an entry: the extent to which it is verified.

    RECOMPUTED: all numbers follow from its counts. 're-run, N of M cells': another machine got the
    counts of N cells, too. 'not reproduced': a rerun differs, or shows that the cell is not
    deterministic.
    """
    outcomes = verdicts(cells, reruns)
    if not FAILED.isdisjoint(outcomes):
        return "not reproduced"
    confirmed = {cell_of(rerun) for rerun, verdict in zip(reruns, outcomes)
                 if verdict in (SAME, ALIKE)}
    return f"re-run, {len(confirmed)} of {len(cells)} cells" if confirmed else RECOMPUTED


def _rows(pairs: Sequence[Pair]) -> list[dict[str, str]]:
    """The rows of pairs of the same cells."""
    if not pairs:
        return []
    results = [[Result(settings_of(record), (record,)) for record in pair] for pair in pairs]
    tests = []
    for key in TESTED:
        tests += [_p(first.successes(key), second.successes(key)) for first, second in results]
    smallest = holm(tests).reshape(len(TESTED), -1).min(axis=0)
    return [_row(first, second, float(p)) for (first, second), p in zip(results, smallest)]


def _row(first: Result, second: Result, p: float) -> dict[str, str]:
    """The row of a cell and its rerun. p: the smaller of the corrected p values."""
    difference = _largest_difference(first.records[0], second.records[0])
    if _must_be_equal(first.records[0], second.records[0]) and (
            difference or first.records[0].detection != second.records[0].detection):
        verdict = NOT_DETERMINISTIC
    elif difference < ROUNDING:
        verdict = SAME
    else:
        verdict = ALIKE if p >= LEVEL else DIFFERS
    shown = number(difference, 2)
    if 0 < difference < ROUNDING:
        shown = Cell(f"{difference:.1g}", {"": difference})
    row = {"cell": _name(first.records[0]), "largest difference": shown}
    for heading, key in NUMBERS.items():
        recorded, rerun = (number(result.numbers.get(key, np.nan)) for result in (first, second))
        row[heading] = Cell(f"{recorded} / {rerun}",
                            {"": recorded.data[""], " of the rerun": rerun.data[""]})
    return row | {"p": NONE if verdict == SAME else number(p), "verdict": verdict}


def _p(first: np.ndarray, second: np.ndarray) -> float:
    return sign_flip_test(first, second) if first.size else 1.0


def _contradiction(record: Record, rerun: Record) -> str | None:
    """The evidence that a rerun is not of the cell of a record; None if there is none.

    Settings that only one of the two has are not compared, since an older record may lack some.
    """
    recorded, rerun_settings = settings_of(record), settings_of(rerun)
    for key in sorted(recorded.keys() & rerun_settings.keys() - {"data.images"}):
        if recorded[key] != rerun_settings[key]:
            return f"{key} is {recorded[key]} in the record and {rerun_settings[key]} in the rerun"
    hashes, other_hashes = (each.provenance.get("data", {}) for each in (record, rerun))
    for split in sorted(hashes.keys() & other_hashes.keys()):
        if hashes[split] != other_hashes[split]:
            return (f"the {split} images have the hash {hashes[split]} in the record and "
                    f"{other_hashes[split]} in the rerun")
    for key in ("id", "truth", "target"):
        if getattr(record.images, key) != getattr(rerun.images, key):
            return f"images.{key} of the record differs from that of the rerun"
    return None


def _must_be_equal(record: Record, rerun: Record) -> bool:
    """Whether all circumstances that a record tells are equal, so that counts must be, too.

    Equal warnings mean that memory ran out in both or in neither. A record whose stages were made
    under several circumstances is compared as one of another machine.
    """
    first, second = record.provenance, rerun.provenance
    if any(key not in each for key in NEEDED for each in (first, second)):
        return False
    if any(first.get(key) != second.get(key) for key in CIRCUMSTANCES):
        return False
    mixed = "also_made_with" in first or "also_made_with" in second
    if mixed or record.warnings != rerun.warnings:
        return False
    return first["device"] == "cpu" or _deterministic(first.get("switches"))


def _deterministic(switches: object) -> bool:
    """Whether torch used only deterministic algorithms. switches: of a provenance, from anybody."""
    if not isinstance(switches, dict):
        return False
    return (switches.get("torch.are_deterministic_algorithms_enabled") is True
            and not switches.get("torch.is_deterministic_algorithms_warn_only_enabled")
            and not switches.get("torch.backends.cudnn.benchmark"))


def _accusation(record: Record, rerun: Record) -> str:
    """The note on a rerun whose counts should have been equal: what differs first, what to do."""
    first = _first_difference(record, rerun)
    note = (f"{_name(record)}: not deterministic: {first}, although both records name the same "
            "machine, threads, versions and switches. Expected all draws to come from torch's or a "
            "seeded generator, and no operation that is not deterministic")
    if record.provenance.get("dirty"):
        note += "; or the code was changed in between, since it had changes without a commit"
    return f"{note}."


def _first_difference(record: Record, rerun: Record) -> str:
    """The first result that differs between two records of a cell, in the order of their making."""
    stages, rerun_stages = (each.provenance.get("stages", {}) for each in (record, rerun))
    for stage, counter in COUNTERS.items():
        weights, others = (each.get(stage, {}).get("weights_sha256")
                           for each in (stages, rerun_stages))
        if None not in (weights, others) and weights != others:
            return f"the weights of {counter} are the first to differ"
    for key, counts in COUNTS.items():
        columns = (getattr(record.images, key), getattr(rerun.images, key))
        if None not in columns and columns[0] != columns[1]:
            return f"all weights are equal, and the counts {counts} differ"
    return "all weights and counts are equal, and the scores of the detector differ"


def _largest_difference(record: Record, rerun: Record) -> float:
    """The largest difference between two counts of one image, in people.

    A column that one of the two lacks, as older records may, is not compared.
    """
    differences = []
    for key in COUNTS:
        counts, rerun_counts = getattr(record.images, key), getattr(rerun.images, key)
        if counts is not None and rerun_counts is not None:
            differences.append(float(np.abs(np.subtract(counts, rerun_counts)).max()))
    return max(differences)


def _name(record: Record) -> str:
    attack = record.attack
    attack_name = f"{attack.trigger.name}/{attack.target.name}" if attack else "clean"
    return f"{record.model.name} {attack_name} {record.defense.name} seed {record.seed}"
