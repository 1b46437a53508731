"""A scene: one image and the heads in it. The truth is the number of heads."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from benchmark.data.density import adaptive_sigmas


@dataclass(frozen=True)
class Scene:
    """One annotated crowd image, decoded.

    id: unique within its dataset and split, for instance 'IMG_7'.
    image: uint8 [H, W, 3], RGB.
    points: float32 [N, 2], head annotations as (x, y) in pixels of `image`; N may be 0. They lie inside the image.
    sigma: width in pixels of `image` of a head's Gaussian in a density map; None is geometry-adaptive.
    The arrays are read-only.
    """

    id: str
    image: np.ndarray
    points: np.ndarray
    sigma: float | None

    def __post_init__(self) -> None:
        for array in (self.image, self.points):  # a scene is shared by all that train on it
            array.setflags(write=False)

    @property
    def count(self) -> int:
        """The true count, in people."""
        return len(self.points)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) in pixels."""
        return self.image.shape[0], self.image.shape[1]

    @cached_property
    def sigmas(self) -> np.ndarray:
        """Width of each head's Gaussian, float32 [N], pixels."""
        if self.sigma is None:
            return adaptive_sigmas(self.points, self.size)
        return np.full(self.count, self.sigma, np.float32)
