"""Result of a cell over its seeds: the numbers that tables print, and their bootstrap intervals."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Self

import numpy as np

from benchmark.metrics import counting
from benchmark.metrics.bootstrap import bootstrap, interval, mean, median, replicated
from benchmark.results.record import Images, Record

SUMMARISED = {"truth", "clean", "target", "triggered", "reference_triggered"}  # columns of a record
Settings = dict[str, str]
Share = Callable[..., np.ndarray]  # counts [N], ..., and true counts [N] -> bool [N]


@dataclass(frozen=True)
class Result:
    """Records of one cell, which differ only in the seed, in the order of their seeds.

    undefended: the result of no defense on the same victim; None if unknown.
    """

    settings: Settings
    records: tuple[Record, ...]
    undefended: "Result | None" = field(default=None, repr=False, compare=False)

    @property
    def defense(self) -> str:
        return self.settings["defense"]

    @property
    def detects(self) -> bool:
        """Whether the defense is a detector, which repairs nothing: its counts are the victim's."""
        detection = self.records[0].detection
        return detection is not None and detection.of != "training images"

    @property
    def seeds(self) -> list[int]:
        return [record.seed for record in self.records]

    @property
    def unchanged_seeds(self) -> list[int]:
        """The seeds whose counts are exactly those of no defense: the defense changed nothing.

        None are for no defense itself, and for a detector, which repairs nothing.
        """
        if self.undefended is None or self.defense == "none" or self.detects:
            return []
        before = {record.seed: record.images for record in self.undefended.records}
        return [record.seed for record in self.records if record.seed in before
                and _counts(record.images) == _counts(before[record.seed])]

    def of(self, seeds: Sequence[int]) -> Self | None:
        """The result of these seeds alone; None if one of them is missing."""
        if not {*seeds} <= {*self.seeds}:
            return None
        if len(seeds) == len(self.seeds):
            return self
        kept = tuple(record for record in self.records if record.seed in seeds)
        return replace(self, records=kept)

    def successes(self, key: str) -> np.ndarray:
        """Image by image what a share counts, such as 'rho_acc', 'ra', 'flip_rate' or 'rho_asr'.

        bool [S, N]: S seeds and the N images with people; S = 0 if there is no such share.
        """
        seeds = [columns[key] for columns in self._columns if key in columns]
        if not seeds:
            return np.empty((0, 0), bool)
        return np.array([column[~np.isnan(column)] for column in seeds], bool)

    def over(self, key: str, images: np.ndarray) -> tuple[float, float, float]:
        """The mean of a share, or of 'mae', over some of the images and over seeds.

        It is followed by the ends of its 95% interval. All are nan if there is no such number.

        images: which of the N images, bool [N].
        """
        seeds = [columns[key][images] for columns in self._columns if key in columns]
        existing = np.array(seeds)[..., ~np.isnan(seeds[0])] if seeds else np.empty(0)
        if not existing.size:
            return math.nan, math.nan, math.nan
        return float(existing.mean()), *bootstrap(existing)

    @cached_property
    def numbers(self) -> dict[str, float]:
        """Means over seeds of every number of `counting.summary`; nan for what does not exist.

        reference_rho_acc and reference_flip_rate are the clean counter's, control_rho_acc and
        control_flip_rate those of the clean counter after the same defense. extreme is the share of
        triggered images whose count is off by more than half of the truth, in S.
        """
        seeds = [_summary(record) for record in self.records]
        numbers = {key: float(np.mean([summary[key] for summary in seeds])) for key in seeds[0]}
        for key in ("reference_rho_acc", "reference_flip_rate", "control_rho_acc",
                    "control_flip_rate", "extreme"):
            shares = self.successes(key)
            numbers[key] = float(shares.mean()) if shares.size else math.nan
        return numbers

    @cached_property
    def replicates(self) -> Mapping[str, np.ndarray]:
        """Bootstrap replicates [R] of the numbers that have an interval.

        Results with equally many images and seeds share the draws, so that their replicates may be
        added and subtracted.
        """
        # An older record may lack the columns of the control.
        common = set(self._columns[0]).intersection(*self._columns)
        keys = sorted(common - {"attainment"})
        seeds = [np.stack([columns[key] for key in keys], axis=1) for columns in self._columns]

        def statistic(values: np.ndarray, times: np.ndarray) -> np.ndarray:
            return _with_derived(mean(values, times), keys)

        replicates = dict(zip([*keys, *_derived(keys)], replicated(seeds, statistic).T))
        if "attainment" in self._columns[0]:
            attainments = [columns["attainment"] for columns in self._columns]
            replicates["attainment"] = replicated(attainments, median)
        return replicates

    def interval(self, key: str) -> tuple[float, float]:
        """95% interval of a number over seeds and images; nan if a replicate lacks the number."""
        if key not in self.replicates:
            return math.nan, math.nan
        return interval(self.replicates[key])

    @cached_property
    def _columns(self) -> list[dict[str, np.ndarray]]:
        return [_columns(record) for record in self.records]


def on_common_seeds(first: Result, second: Result) -> tuple[Result, Result] | None:
    """Two results on the seeds that both have; None if they share none."""
    seeds = [seed for seed in first.seeds if seed in second.seeds]
    return (first.of(seeds), second.of(seeds)) if seeds else None


def _counts(images: Images) -> tuple[list[float], list[float] | None]:
    return images.clean, images.triggered


def _summary(record: Record) -> dict[str, float]:
    columns = record.images.model_dump(include=SUMMARISED)
    increases = record.attack.increases if record.attack else None
    return counting.summary(**columns, increases=increases)


def _columns(record: Record) -> dict[str, np.ndarray]:
    """Each image's contribution to each number, [N]; nan for an image that has none."""
    images, attack = record.images, record.attack
    truth, clean = np.array(images.truth), np.array(images.clean)

    def share(counted: Share, *counts: list[float] | np.ndarray) -> np.ndarray:
        return _share(counted, counts, truth)

    columns = {"rho_acc": share(_accurate, clean), "mae": np.abs(clean - truth),
               "squared": (clean - truth) ** 2.0}
    if images.reference_clean is not None:
        columns["reference_rho_acc"] = share(_accurate, images.reference_clean)
    if images.triggered is None or attack is None:
        return columns
    columns["ra"] = share(_accurate, images.triggered)
    columns["attainment"] = counting.attainments(images.triggered, clean, images.target, truth)
    if attack.increases is None:
        return columns

    success = partial(counting.successes, increases=attack.increases)
    miss = partial(counting.successes, increases=not attack.increases)
    flip = partial(counting.flips, increases=attack.increases)
    columns["rho_asr"] = share(success, images.triggered)
    columns["base"] = share(success, clean)
    columns["opp"] = share(miss, images.triggered)
    columns["flip_rate"] = share(flip, images.triggered, clean)
    columns["extreme"] = share(partial(counting.extremes, increases=attack.increases),
                               images.triggered)
    if images.reference_triggered is not None:
        columns["asr0"] = share(success, images.reference_triggered)
        columns["reference_flip_rate"] = share(flip, images.reference_triggered,
                                               images.reference_clean)
    if images.control_triggered is not None:
        columns["control_rho_acc"] = share(_accurate, images.control_clean)
        columns["control_flip_rate"] = share(flip, images.control_triggered, images.control_clean)
    return columns


def _share(counted: Share, counts: Sequence[list[float] | np.ndarray],
           truth: np.ndarray) -> np.ndarray:
    """1 for each image that the share counts, 0 for the others, nan for images without people."""
    people = truth > 0
    values = np.full(len(truth), np.nan)
    values[people] = counted(*(np.asarray(column)[people] for column in counts), truth[people])
    return values


def _accurate(y: np.ndarray, c: np.ndarray) -> np.ndarray:
    return counting.bands(y, c) == 0


def _derived(keys: list[str]) -> list[str]:
    """Names of the numbers that `_with_derived` adds."""
    return ["rmse", "easr"] if "asr0" in keys else ["rmse"]


def _with_derived(means: np.ndarray, keys: list[str]) -> np.ndarray:
    """Means [R, K] of one seed, followed by the numbers derived from them: RMSE and eASR."""
    columns = dict(zip(keys, means.T))
    derived = [np.sqrt(columns["squared"])]
    if "asr0" in columns:
        gain, room = columns["rho_asr"] - columns["asr0"], 1 - columns["asr0"]
        easr = np.divide(gain, room, out=np.full(len(room), np.nan), where=room > 0)
        derived.append(easr)
    return np.column_stack([means, *derived])
