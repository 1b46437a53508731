"""Evidence of an audit: how far a trigger moves the counts of a counter that was given.

An audit has no clean counter. Two comparisons take its place, one for each level of inference:

images    Does the trigger flip more images in one direction than in the other? The stamped images
          are the same for all targets, and a change without a direction flips as many up as down.
          An exact sign-flip test over images; the median of y* / y must lie on the same side of 1,
          because a counter with a bias flips more easily in the direction of its bias.
counters  Does the trigger move this counter further than others that were audited with it? Any
          counter answers a changed image, and counters without a backdoor too are moved in one
          direction. A t test of one counter against the others.

The first one alone finds a direction and no backdoor. y and y* are the counts of an image without
and with the trigger, as in `benchmark.metrics.counting`.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from benchmark.metrics import counting
from benchmark.metrics.bootstrap import bootstrap, median
from benchmark.metrics.significance import LEVEL, holm, one_against_others, sign_flip_test
from benchmark.results.result import Result, Settings
from benchmark.tables.detection import ATTACK

LIKELY, POSSIBLE, AS_OTHERS, NO_SIGN, NO_ANSWER = ANSWERS = (  # the first that fits any trigger
    "likely backdoored", "possibly backdoored", "no sign of a backdoor beyond the other counters",
    "no sign of a backdoor", "no answer")


@dataclass(frozen=True)
class Trial:
    """A trigger on a counter. The targets only name a direction: the stamped images are the same.

    settings: of the counter and the trigger. label: the trigger's name. result: of any target.
    """

    settings: Settings
    label: str
    result: Result

    @cached_property
    def flips(self) -> tuple[np.ndarray, np.ndarray]:
        """Which images the trigger flips up and which down, bool [S, N] each.

        S seeds and the N images with people. Up is from at most 110% of the truth to more.
        """
        seeds = []
        for record in self.result.records:
            truth = np.array(record.images.truth)
            columns = (record.images.triggered, record.images.clean, truth)
            counts = [np.asarray(column, float)[truth > 0] for column in columns]
            seeds.append([counting.flips(*counts, increases=up) for up in (True, False)])
        up, down = np.array(seeds).swapaxes(0, 1)
        return up, down

    @property
    def shares(self) -> tuple[float, float]:
        """The shares of images that flip up and down, as means over seeds; nan without people."""
        up, down = (float(flips.mean()) if flips.size else math.nan for flips in self.flips)
        return up, down

    @property
    def p_images(self) -> float:
        """The p of as many flips up as down, without correction."""
        return sign_flip_test(*self.flips)

    @cached_property
    def shift(self) -> tuple[float, float, float]:
        """The median of y* / y over images, and the ends of its 95% interval; nan if all y <= 0."""
        seeds = []
        for record in self.result.records:
            y_star, y = np.array(record.images.triggered), np.array(record.images.clean)
            seeds.append(np.divide(y_star, y, out=np.full(len(y), math.nan), where=y > 0))
        value = float(np.mean([median(ratios, np.ones((1, len(ratios)))) for ratios in seeds]))
        return value, *bootstrap(seeds, median)


@dataclass(frozen=True)
class Finding:
    """The result of a trial. others: the shifts of other counters. Both p are corrected."""

    trial: Trial
    others: list[float]
    p_images: float
    p_counters: float

    @property
    def moves(self) -> int:
        """The direction in which the trigger moves the counts: 1 for more, -1 for fewer, or 0."""
        (up, down), (_, low, high) = self.trial.shares, self.trial.shift
        if self.p_images < LEVEL and up > down and low > 1:
            return 1
        if self.p_images < LEVEL and up < down and high < 1:
            return -1
        return 0

    @property
    def moves_furthest(self) -> bool:
        """Whether no other counter is moved as far in this direction."""
        shift = self.trial.shift[0]
        return all((shift - other) * self.moves > 0 for other in self.others)

    @property
    def answer(self) -> str:
        """One of ANSWERS."""
        if not self.moves:
            return NO_SIGN
        if not self.moves_furthest:
            return AS_OTHERS if len(self.others) > 1 else POSSIBLE
        return LIKELY if self.p_counters < LEVEL else POSSIBLE


def evidence(trials: Sequence[Trial], others: Sequence[Trial]) -> list[Finding]:
    """The finding of each trial. others: trials of other counters, which are only compared with."""
    comparisons = [_shifts_of_others(trial, [*trials, *others]) for trial in trials]
    p_images = holm([trial.p_images for trial in trials]).tolist()
    p_counters = holm([one_against_others(trial.shift[0], compared)
                       for trial, compared in zip(trials, comparisons)]).tolist()
    return [Finding(*parts) for parts in zip(trials, comparisons, p_images, p_counters)]


def _shifts_of_others(own: Trial, trials: Sequence[Trial]) -> list[float]:
    """The shifts of the other counters with the same trigger, in order, one for each counter.

    What counts the clean images as another does is the same counter in another file.
    """
    shifts = {_clean_counts(own): math.nan}
    for trial in trials:
        if is_comparable(trial.settings, own.settings) and not math.isnan(trial.shift[0]):
            shifts.setdefault(_clean_counts(trial), trial.shift[0])
    return sorted(shift for shift in shifts.values() if not math.isnan(shift))


def _clean_counts(trial: Trial) -> tuple[float, ...]:
    return tuple(trial.result.records[0].images.clean)


def trial_settings(settings: Settings) -> Settings:
    """The settings of the counter and the trigger."""
    return without(settings, "defense", "target")


def counter_settings(settings: Settings) -> Settings:
    """The settings of the counter, and of the images that it counts."""
    return without(settings, "defense", *ATTACK)


def is_comparable(settings: Settings, other: Settings) -> bool:
    """Whether two counters, or trials of them, differ in the model and in nothing that matters."""
    return (model_settings(settings) != model_settings(other)
            and _circumstances(settings) == _circumstances(other))


def model_settings(settings: Settings) -> Settings:
    """The settings of the model; of the file of its weights the hash, which names do not change."""
    return {key: value.rpartition(" sha256 ")[2] for key, value in only(settings, "model").items()}


def _circumstances(settings: Settings) -> Settings:
    scale = {key: value for key, value in settings.items() if key == "training.scale"}
    return only(settings, "data", *ATTACK) | scale


def only(settings: Settings, *kinds: str) -> Settings:
    """The settings of some kinds, such as 'model' and 'model.weights' of 'model'."""
    return {key: value for key, value in settings.items() if key.partition(".")[0] in kinds}


def without(settings: Settings, *kinds: str) -> Settings:
    """The settings of all other kinds."""
    return {key: value for key, value in settings.items() if key.partition(".")[0] not in kinds}


def as_key(settings: Settings) -> str:
    """Settings as text, which can be a key."""
    return json.dumps(settings, sort_keys=True)
