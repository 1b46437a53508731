"""One cell of a table: its numbers, which are means over seeds, and how sure they are."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np

from benchmark.metrics import counting
from benchmark.metrics.significance import interval, mean, median, replicated
from benchmark.results.record import Record

Settings = dict[str, str]


@dataclass(frozen=True)
class Result:
    """Records that differ in nothing but the seed, ordered by it."""

    settings: Settings
    records: tuple[Record, ...]

    @property
    def defense(self) -> str:
        return self.settings["defense"]

    @property
    def detects(self) -> bool:
        """Whether its defense repairs nothing, so that its counts are those of the victim."""
        detection = self.records[0].detection
        return detection is not None and detection.of != "training images"

    @property
    def seeds(self) -> list[int]:
        return [record.seed for record in self.records]

    def of(self, seeds: Sequence[int]) -> Self | None:
        """The cell with these seeds alone; None where it lacks one."""
        if not {*seeds} <= {*self.seeds}:
            return None
        return self if len(seeds) == len(self.seeds) else replace(self, records=tuple(
            record for record in self.records if record.seed in seeds))

    def successes(self, key: str) -> np.ndarray:
        """A share image by image, bool [S, N] of the N images with people: 'rho_acc', 'ra', 'flip_rate', 'rho_asr', ...

        S = 0 where there is no such share.
        """
        columns = [columns[key][~np.isnan(columns[key])] for columns in self._columns if key in columns]
        return np.array(columns, bool) if columns else np.empty((0, 0), bool)

    @cached_property
    def numbers(self) -> dict[str, float]:
        """`metrics.summary`, and reference_rho_acc and reference_flip_rate of the clean counter, means over seeds; nan
        where there is none."""
        per_seed = [counting.summary(**record.images.model_dump(exclude={"id", "reference_clean"}),
                                    increases=record.attack and record.attack.increases) for record in self.records]
        return {key: float(np.mean([numbers[key] for numbers in per_seed])) for key in per_seed[0]} | {
            key: float(shares.mean()) if (shares := self.successes(key)).size else math.nan
            for key in ("reference_rho_acc", "reference_flip_rate")}

    @cached_property
    def replicates(self) -> Mapping[str, np.ndarray]:
        """Bootstrap replicates [R] of the numbers that have an interval. Cells of as many images and seeds have the
        same draws: their replicates may be added and subtracted."""
        keys = sorted(set(self._columns[0]) - {"attainment"})
        means = replicated([np.stack([columns[key] for key in keys], axis=1) for columns in self._columns],
                           lambda values, times: _with_derived(mean(values, times), keys))
        found = dict(zip([*keys, *_derived(keys)], means.T))
        if "attainment" in self._columns[0]:
            found["attainment"] = replicated([columns["attainment"] for columns in self._columns], median)
        return found

    def interval(self, key: str) -> tuple[float, float]:
        """95% interval of a number over seeds and images; nan where there is none, in some replicates or at all."""
        return interval(self.replicates[key]) if key in self.replicates else (math.nan, math.nan)

    @cached_property
    def _columns(self) -> list[dict[str, np.ndarray]]:
        return [_columns(record) for record in self.records]


def _columns(record: Record) -> dict[str, np.ndarray]:
    """What each image adds to each number, [N]; nan where it adds nothing."""
    images, attack = record.images, record.attack
    truth, clean = np.array(images.truth), np.array(images.clean)
    people = truth > 0

    def share(*counts: list[float] | np.ndarray, of: object) -> np.ndarray:
        found = np.full(len(truth), np.nan)
        found[people] = of(*(np.asarray(one)[people] for one in counts), truth[people])
        return found

    def accurate(y: np.ndarray, c: np.ndarray) -> np.ndarray:
        return counting.bands(y, c) == 0

    found = {"rho_acc": share(clean, of=accurate), "mae": np.abs(clean - truth), "squared": (clean - truth) ** 2.0}
    if images.reference_clean is not None:
        found["reference_rho_acc"] = share(images.reference_clean, of=accurate)
    if images.triggered is None or attack is None:
        return found
    found["ra"] = share(images.triggered, of=accurate)
    found["attainment"] = counting.attainments(images.triggered, clean, images.target, truth)
    if attack.increases is None:
        return found

    def success(y: np.ndarray, c: np.ndarray) -> np.ndarray:
        return counting.successes(y, c, attack.increases)

    def miss(y: np.ndarray, c: np.ndarray) -> np.ndarray:
        return counting.successes(y, c, not attack.increases)

    def flip(y_star: np.ndarray, y: np.ndarray, c: np.ndarray) -> np.ndarray:
        return counting.flips(y_star, y, c, attack.increases)

    found |= {"rho_asr": share(images.triggered, of=success), "base": share(clean, of=success),
              "opp": share(images.triggered, of=miss), "flip_rate": share(images.triggered, clean, of=flip)}
    if images.reference_triggered is not None:
        found["asr0"] = share(images.reference_triggered, of=success)
        found["reference_flip_rate"] = share(images.reference_triggered, images.reference_clean, of=flip)
    return found


def _derived(keys: list[str]) -> list[str]:
    return ["rmse", *(["easr"] if "asr0" in keys else [])]


def _with_derived(means: np.ndarray, keys: list[str]) -> np.ndarray:
    """Means [R, K] and what follows from them, of one seed."""
    of = dict(zip(keys, means.T))
    more = [np.sqrt(of["squared"])]
    if "asr0" in of:
        left = 1 - of["asr0"]
        more.append(np.divide(of["rho_asr"] - of["asr0"], left, out=np.full(len(left), np.nan), where=left > 0))
    return np.column_stack([means, *more])
