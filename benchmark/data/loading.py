"""Files -> scenes: images decoded and turned upright, points clamped inside, both scaled."""

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
    """An image as it is displayed, scaled: uint8 [H, W, 3], RGB. Grey, palette, 16-bit and CMYK are converted.

    Raises:
        UserError: the file is missing, truncated or no image.
    """
    return _decode(path, scale, None)[0]


def read_scene(dataset: Dataset, item: Item, scale: float = 1.0) -> Scene:
    """An annotated image, scaled, and scaled down further where it exceeds the dataset's `max_side`.

    Points outside the image are moved to its border, so that the truth stays what was annotated.

    Raises:
        UserError: the image or its annotation is missing or broken.
    """
    image, factor = _decode(item.image, scale, dataset.max_side)
    border = np.nextafter(np.float32(image.shape[1::-1]), np.float32(0))  # the last (x, y) inside
    points = np.clip((dataset.points(item) * factor).astype(np.float32), 0, border)
    return Scene(item.id, image, points, dataset.sigma and dataset.sigma * factor)


def read_scenes(dataset: Dataset, items: Sequence[Item], scale: float = 1.0) -> list[Scene]:
    """The scenes of items, in their order, read by several threads. Raises UserError as `read_scene` does."""
    return in_threads(lambda item: read_scene(dataset, item, scale), items, f"read {dataset.name}")


def in_threads(function: Callable[[Thing], Result], things: Sequence[Thing], title: str | None = None) -> list[Result]:
    """A function over things that wait on disk or on code that frees the interpreter. title: of a progress bar."""
    with ThreadPoolExecutor() as pool:
        return list(Bar(pool.map(function, things), desc=title, total=len(things), unit="img", disable=title is None))


def _decode(path: Path, scale: float, max_side: int | None) -> tuple[np.ndarray, float]:
    """The pixels, uint8 [H, W, 3], and the factor by which they were scaled."""
    try:
        with Image.open(path) as image:
            factor = scale * min(1, (max_side or math.inf) / max(image.size))
            return np.array(ImageOps.exif_transpose(_resized(image, factor))), factor
    except Exception as error:  # PIL's decoders raise OSError, SyntaxError, struct.error and more
        raise UserError(f"{path}: expected an image that can be decoded: {error}") from None


def _resized(image: Image.Image, factor: float) -> Image.Image:
    """In RGB, scaled with antialiasing. Also sets off the decoding."""
    if factor == 1:
        return _rgb(image)
    size = tuple(max(1, round(side * factor)) for side in image.size)
    # A JPEG decodes faster at 1/2, 1/4 or 1/8; twice the final size leaves the resampling filter enough to work on.
    drafted = image.draft(None, (2 * size[0], 2 * size[1]))
    return _rgb(image).resize(size, Image.Resampling.BICUBIC, box=drafted and drafted[1])


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits, which PIL would clip to 8
        image = image.point(lambda value: value / 256)
    elif image.mode == "P":  # directly to RGB, PIL warns about transparent colours
        image = image.convert("RGBA")
    return image.convert("RGB")
