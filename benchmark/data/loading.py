"""Loading: read image and annotation files as scenes.

Images are decoded and turned upright, points are moved inside the image, and both are scaled.
"""

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, ImageOps

from benchmark.data.datasets.base import Dataset, Item
from benchmark.data.scene import Scene
from benchmark.utils.errors import UserError
from benchmark.utils.progress import Bar

Thing, Result = TypeVar("Thing"), TypeVar("Result")


def read_image(path: Path, scale: float = 1.0) -> np.ndarray:
    """Return an image as it is displayed, scaled, uint8 [H, W, 3] in RGB.

    Grey, palette, 16-bit and CMYK images are converted.

    Raises:
        UserError: the file is missing, truncated or not an image.
    """
    return _decode(path, scale, None)[0]


def read_scene(dataset: Dataset, item: Item, scale: float = 1.0) -> Scene:
    """Return an annotated image, scaled.

    The image is scaled down further if it exceeds the dataset's `max_side`. Points outside the
    image are moved to its border, so that the true count is the annotated one.

    Raises:
        UserError: the image or its annotation is missing or broken.
    """
    image, factor = _decode(item.image, scale, dataset.max_side)
    border = np.nextafter(np.float32(image.shape[1::-1]), np.float32(0))  # the last (x, y) inside
    points = np.clip((dataset.points(item) * factor).astype(np.float32), 0, border)
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


def _decode(path: Path, scale: float, max_side: int | None) -> tuple[np.ndarray, float]:
    """Return the pixels, uint8 [H, W, 3], and the factor by which they were scaled."""
    try:
        with Image.open(path) as image:
            factor = scale * min(1, (max_side or math.inf) / max(image.size))
            return np.array(ImageOps.exif_transpose(_resized(image, factor))), factor
    except Exception as error:  # PIL's decoders raise OSError, SyntaxError, struct.error and more
        raise UserError(f"{path}: expected an image that can be decoded: {error}") from None


def _resized(image: Image.Image, factor: float) -> Image.Image:
    """Return an image in RGB, scaled with antialiasing. This also starts the decoding."""
    if factor == 1:
        return _rgb(image)
    size = tuple(max(1, round(side * factor)) for side in image.size)
    # A JPEG decodes faster at 1/2, 1/4 or 1/8 of its size. Twice the final size leaves the
    # resampling filter enough pixels.
    drafted = image.draft(None, (2 * size[0], 2 * size[1]))
    box = drafted[1] if drafted else None
    return _rgb(image).resize(size, Image.Resampling.BICUBIC, box=box)


def _rgb(image: Image.Image) -> Image.Image:
    """Return an image of any mode in RGB."""
    if image.mode.startswith("I"):  # 16 bits, which PIL would clip to 8
        image = image.point(lambda value: value / 256)
    elif image.mode == "P":  # PIL warns about transparent colours if converted to RGB directly
        image = image.convert("RGBA")
    return image.convert("RGB")
