"""Image files: opened within our own limit of pixels, and decoded upright, in RGB and scaled."""

import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from threading import Lock

import numpy as np
from PIL import Image, ImageOps

from benchmark.data.npy_files import NpyImage
from benchmark.utils.errors import UserError, shown
from benchmark.utils.regular_files import check_regular
from benchmark.utils.shared_context import SharedContext, without_warnings

LIMIT = "CROWD_MAX_PIXELS"  # the environment variable with the largest number of pixels
MOST_PIXELS = 200_000_000  # its default; decoding takes about 2 GB then
LONGEST_SIDE = 65_535  # of any image; no JPEG is longer, and Pillow keeps an address for each row
LARGE = 50_000_000  # pixels; images that exceed it are decoded one at a time
_one_large_image = Lock()


@contextmanager
def _no_limit_of_pillow() -> Iterator[None]:
    usual = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = usual


_own_limit = SharedContext(_no_limit_of_pillow)


def pixel_limit() -> int:
    """Return the largest number of pixels that an image may have. Raises UserError."""
    text = os.environ.get(LIMIT) or str(MOST_PIXELS)
    if not re.fullmatch("[1-9][0-9]{0,17}", text):
        raise UserError(f"environment variable {LIMIT} = {shown(text)!r}: expected a number of "
                        f"pixels, for instance {MOST_PIXELS}")
    return int(text)


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """Open an image for a block. Whatever fails in the block is an error of the image.

    Raises:
        UserError: the file is missing or no image, has too many pixels, or cannot be decoded.
    """
    check_regular(path)
    most = pixel_limit()
    try:
        with without_warnings, _own_limit, _open(path) as image:
            if image.format == "EPS":  # Pillow would let another program run it
                raise UserError(f"{shown(path)}: expected an image, found PostScript")
            pixels, (width, height) = math.prod(image.size), image.size
            if max(image.size) > LONGEST_SIDE:
                raise UserError(f"{shown(path)}: {width}x{height} pixels; expected sides of at "
                                f"most {LONGEST_SIDE:,} pixels")
            if pixels > most:
                raise UserError(
                    f"{shown(path)}: {width}x{height} are {pixels:,} pixels; expected at most "
                    f"{most:,}, or a higher limit in the environment variable {LIMIT}")
            yield image
    except UserError:
        raise
    except Exception as error:  # PIL's decoders raise OSError, SyntaxError, struct.error and more
        raise UserError(f"{shown(path)}: expected an image that can be decoded: "
                        f"{shown(error) or type(error).__name__}") from None


def _open(path: Path) -> Image.Image:
    """Open an image; an array in a .npy file is one, too. Nothing is decoded."""
    return NpyImage(path) if path.suffix.lower() == ".npy" else Image.open(path)


def image_size(path: Path, scale: float, max_side: int | None) -> tuple[int, int]:
    """Return (W, H) of an image as `decode` scales it, before it is turned upright.

    Only the header of the file is read.

    Raises:
        UserError: the file is missing, is no image or has too many pixels.
    """
    with opened(path) as image:
        return scaled_size(image.size, scale, max_side)


def scaled_size(size: tuple[int, int], scale: float, max_side: int | None) -> tuple[int, int]:
    """Return (W, H) of an image of this size as `decode` scales it."""
    return _times(size, _factor(size, scale, max_side))


def decode(path: Path, scale: float, max_side: int | None) -> tuple[np.ndarray, float]:
    """Return the pixels as displayed, uint8 [H, W, 3], and the factor by which they were scaled.

    Raises:
        UserError: the file is missing, truncated or no image, or has too many pixels.
    """
    with opened(path) as image:
        factor = _factor(image.size, scale, max_side)
        is_large = math.prod(image.size) > LARGE
        with _one_large_image if is_large else nullcontext():
            return np.array(ImageOps.exif_transpose(_resized(image, factor))), factor


def _factor(size: tuple[int, int], scale: float, max_side: int | None) -> float:
    """Return the factor that scales an image and limits its longer side."""
    return scale * min(1, (max_side or math.inf) / max(size))


def _times(size: tuple[int, int], factor: float) -> tuple[int, int]:
    """Return (W, H) times a factor, at least 1."""
    width, height = size
    return max(1, round(width * factor)), max(1, round(height * factor))


def _resized(image: Image.Image, factor: float) -> Image.Image:
    """Return an image in RGB, scaled with antialiasing. This also starts the decoding."""
    if factor == 1:
        return _rgb(image)
    size = _times(image.size, factor)
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
