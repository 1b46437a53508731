"""Loading: read image and annotation files as scenes.

Images are decoded and turned upright, points are moved inside the image, and both are scaled.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np

from benchmark.data.datasets.base import Dataset, Item
from benchmark.data.image_files import decode
from benchmark.data.scene import Scene
from benchmark.utils.progress import Bar

Thing, Result = TypeVar("Thing"), TypeVar("Result")


def read_image(path: Path, scale: float = 1.0) -> np.ndarray:
    """Return an image as it is displayed, scaled, uint8 [H, W, 3] in RGB.

    Grey, palette, 16-bit and CMYK images are converted.

    Raises:
        UserError: the file is missing, truncated or not an image, or has too many pixels.
    """
    return decode(path, scale, None)[0]


def read_scene(dataset: Dataset, item: Item, scale: float = 1.0) -> Scene:
    """Return an annotated image, scaled.

    The image is scaled down further if it exceeds the dataset's `max_side`. Points outside the
    image are moved to its border, so that the true count is the annotated one.

    Raises:
        UserError: the image or its annotation is missing or broken.
    """
    image, factor = decode(item.image, scale, dataset.max_side)
    border = np.nextafter(np.float32(image.shape[1::-1]), np.float32(0))  # the last (x, y) inside
    points = np.clip(dataset.points(item) * factor, 0, border).astype(np.float32)
    return Scene(item.id, image, points, dataset.sigma and dataset.sigma * factor)


def read_scenes(dataset: Dataset, items: Sequence[Item], scale: float = 1.0) -> list[Scene]:
    """Return the scenes of items, in the order of the items, read by several threads.

    Raises:
        UserError: an image or its annotation is missing or broken.
    """
    return in_threads(lambda item: read_scene(dataset, item, scale), items, f"read {dataset.name}")


def in_threads(function: Callable[[Thing], Result], things: Sequence[Thing],
               title: str | None = None) -> list[Result]:
    """Apply a function to things in several threads and return the results in order.

    It is worth it for a function that waits for the disk or runs code without the interpreter lock.

    title: the title of a progress bar; None shows none.
    """
    with ThreadPoolExecutor() as pool:
        results = pool.map(function, things)
        return list(Bar(results, desc=title, total=len(things), unit="img", disable=title is None))
