"""A scene: one image and the heads in it. The truth is the number of heads."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Scene:
    """One annotated crowd image, decoded.

    id: unique within its dataset and split, for instance 'IMG_7'.
    image: uint8 [H, W, 3], RGB.
    points: float32 [N, 2], head annotations as (x, y) in pixels of `image`; N may be 0. They lie inside the image.
    sigmas: float32 [N], width in pixels of each head's Gaussian in a density map.
    """

    id: str
    image: np.ndarray
    points: np.ndarray
    sigmas: np.ndarray

    @property
    def count(self) -> int:
        """The true count, in people."""
        return len(self.points)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) in pixels."""
        return self.image.shape[0], self.image.shape[1]
