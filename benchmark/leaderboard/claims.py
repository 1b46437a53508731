"""The paper's claims beside what these records say of them: Luo, CONF-CIAP 2025, doi 10.4108/eai.17-1-2025.2355235."""

from collections.abc import Collection, Iterator

import pandas as pd

from benchmark.leaderboard.formats import Table

FALL = 72.5  # percent: the largest fall of rho_Asr by fine-tuning, as the paper's abstract has it
# A claim of the paper, what is counted of the victims, the question's table, and beside what
TESTED = [("the attacks succeed", "the trigger moves more images than in a clean counter", "trigger", None),
          ("fine-tuning weakens them", "fewer flips than without it", "fine_tune_flip_rate", "none"),
          ("fine-tuning improves accuracy on clean images", "more of them right than without it", "fine_tune_rho_acc",
           "none")]


def claims(tables: Collection[Table], victims: Collection[str]) -> Table:
    """A row per claim that these victims can tell of, in the paper's order.

    tables: the answered questions and 'extremes' of the findings. victims: names, of those that are as the paper's.
    """
    frames = {table.name: table.frame[table.frame["victim"].isin(victims)] for table in tables}
    success, weaker, accuracy = (list(_tested(frames, *one)) for one in TESTED)
    rows = [*success, *_cost(frames), *weaker, *_extremes(frames), *accuracy]
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
               f"a fall of rho_Acc: shown for {falls} of {len(rows)}, the largest change is {worst}",
               "contradicted" if falls else "not contradicted")


def _extremes(frames: dict[str, pd.DataFrame]) -> Iterator[tuple[str, str, str]]:
    if not len(rows := frames.get("extremes", pd.DataFrame())):
        return
    falls = [float(fall.rstrip("%")) for fall in rows["rho_Asr reduced by"] if fall.endswith("%")]
    if falls:
        yield (f"fine-tuning reduces rho_Asr by up to {FALL}%", f"by up to {max(falls):g}%",
               "holds" if max(falls) >= FALL else "not reached")
    fewer = sum(float(after) < float(before) for before, after in
                zip(rows["off by > 0.5"], rows["off by > 0.5, fine_tune"]))
    yield ("and weakens all attacks where they are extreme", f"fewer counts off by > 0.5: {fewer} of {len(rows)}, "
           "without a test", "holds" if fewer == len(rows) else "holds for some" if fewer else "does not hold")
