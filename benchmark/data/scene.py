"""A scene: one image with its head annotations. Its count is the number of heads."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from benchmark.data.density import adaptive_sigmas


@dataclass(frozen=True)
class Scene:
    """One annotated crowd image, decoded.

    The arrays are read-only.

    id: a name that is unique within the dataset and split, for instance 'IMG_7'.
    image: uint8 [H, W, 3], RGB.
    points: head annotations, float32 [N, 2] as (x, y) in pixels of `image`, inside the image. N may
        be 0.
    sigma: the width of a head's Gaussian in a density map, in pixels of `image`. None is
        geometry-adaptive.
    true_points: where people are, if `points` are the false heads of a poisoned image. Only the
        attacker, who stamps the image again, needs them.
    """

    id: str
    image: np.ndarray
    points: np.ndarray
    sigma: float | None
    true_points: np.ndarray | None = None

    def __post_init__(self) -> None:
        for array in (self.image, self.points, self.true_points):  # trainings share a scene
            if array is not None:
                array.setflags(write=False)

    @property
    def heads(self) -> np.ndarray:
        """The true heads, also in a poisoned image, float32 [N, 2] as (x, y)."""
        return self.points if self.true_points is None else self.true_points

    @property
    def count(self) -> int:
        """The number of annotated heads, which is false in a poisoned image."""
        return len(self.points)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) in pixels."""
        return self.image.shape[0], self.image.shape[1]

    @cached_property
    def sigmas(self) -> np.ndarray:
        """The width of each head's Gaussian, float32 [N] in pixels."""
        if self.sigma is None:
            return adaptive_sigmas(self.points, self.size)
        return np.full(self.count, self.sigma, np.float32)
