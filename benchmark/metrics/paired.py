"""Paired differences: a share of two counters or methods, on the same images and seeds.

There are two levels of inference, which are never mixed:

images   about these counters: do they differ on images like these? A sign-flip test over images.
seeds    about the method: do counters differ that are trained in the same way? A t test over seeds.

Counters of one method differ from seed to seed by more than chance of images explains. So the test
over images alone finds differences between methods where there are none, and one is shown only if
both levels show it, the second with at least five seeds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmark.metrics.significance import (ENOUGH_SEEDS, LEVEL, SeedInference, holm, over_seeds,
                                            sign_flip_test)


@dataclass(frozen=True)
class Paired:
    """The images that a share counts, under two counters or methods.

    own, other: bool or int [S, N] for S seeds and N images, or [V, S, N] for V victims, whose
        shares are averaged; empty if there is no such share.
    """

    own: np.ndarray
    other: np.ndarray

    @property
    def exists(self) -> bool:
        return bool(self.own.size)

    @property
    def by_seed(self) -> np.ndarray:
        """Own share minus other share for each seed, float [S].

        >>> Paired(np.array([[1, 1], [0, 1]]), np.array([[0, 0], [0, 1]])).by_seed.tolist()
        [1.0, 0.0]
        """
        shares = (self.own.astype(float) - self.other).mean(axis=-1)
        return shares.reshape(-1, shares.shape[-1]).mean(axis=0)

    @property
    def p_images(self) -> float:
        """The p of the sign-flip test, without correction. Victims count as seeds do."""
        images = self.own.shape[-1]
        return sign_flip_test(self.own.reshape(-1, images), self.other.reshape(-1, images))


@dataclass(frozen=True)
class Inference:
    """A difference at both levels.

    by_seed: own share minus other share, float [S].
    seeds: mean, interval and p over seeds, without correction.
    p_images, p_seeds: p at each level after correction; p_seeds is nan with one seed.
    """

    by_seed: np.ndarray
    seeds: SeedInference
    p_images: float
    p_seeds: float

    @property
    def value(self) -> float:
        """The difference, as the mean over seeds."""
        return self.seeds.mean

    @property
    def shown_for_counters(self) -> bool:
        return self.p_images < LEVEL

    @property
    def shown(self) -> bool:
        """Whether the difference is shown for the method: at both levels, by enough seeds."""
        return (self.shown_for_counters and self.p_seeds < LEVEL
                and len(self.by_seed) >= ENOUGH_SEEDS)


def infer(families: Sequence[Sequence[Paired]]) -> list[list[Inference]]:
    """The inference on each pair of each family, such as the tests of a table.

    Holm's correction is over all pairs for the tests over images, and over those of the family for
    the tests over seeds, which have few degrees of freedom.
    """
    corrected = iter(holm([pair.p_images for pairs in families for pair in pairs]).tolist())
    inferences = []
    for pairs in families:
        seeds = [over_seeds(pair.by_seed) for pair in pairs]
        p_seeds = holm([inference.p for inference in seeds]).tolist()
        inferences.append([Inference(pair.by_seed, level, next(corrected), p)
                           for pair, level, p in zip(pairs, seeds, p_seeds)])
    return inferences
