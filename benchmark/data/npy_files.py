"""Numpy's .npy files: the header is checked against the size of the file before anything is read.

An image in such a file is one that Pillow decodes as any other: its size is known from the header,
and its pixels are read when they are needed. No pickle is read.
"""

import math
import os
from typing import IO, Any

import numpy as np
from PIL import Image, ImageFile


def read_header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype, bool]:
    """Read a header: the shape and type of the array, and whether it lies column by column.

    Raises:
        ValueError: there is no such header, or the file is not as long as the header says.
    """
    version = np.lib.format.read_magic(file)
    if version != (1, 0):  # newer ones are written only for records with long names
        raise ValueError(f"version {version} of the format; expected (1, 0)")
    shape, in_columns, dtype = np.lib.format.read_array_header_1_0(file)
    if dtype.hasobject:
        raise ValueError("an array of objects; expected numbers")
    start, declared = file.tell(), math.prod(shape) * dtype.itemsize
    found = file.seek(0, os.SEEK_END) - start
    file.seek(start)
    if found != declared:
        raise ValueError(f"{found:,} bytes of contents; its header says {declared:,}")
    return shape, dtype, in_columns


class NpyImage(ImageFile.ImageFile):
    """An image that is an array uint8 [3, H, W] in RGB, as CLIP-EBC's preprocessing writes it."""

    format = "NPY"

    def _open(self) -> None:
        """Read the header, from which Pillow knows the size."""
        shape, dtype, in_columns = read_header(self.fp)
        if dtype != np.uint8 or len(shape) != 3 or shape[0] != 3 or in_columns:
            found = f"{dtype} {list(shape)}{' column by column' if in_columns else ''}"
            raise ValueError(f"expected an array uint8 [3, H, W], found {found:.80}")
        self._size, self._mode = (shape[2], shape[1]), "RGB"

    def load(self) -> Any:
        """Read the pixels, which stand behind the header."""
        if self.fp is not None:
            width, height = self.size
            bands = np.frombuffer(self.fp.read(), np.uint8).reshape(3, height, width)
            self.im = Image.fromarray(np.ascontiguousarray(bands.transpose(1, 2, 0))).im
            self.fp.close()
            self.fp = None
        return Image.Image.load(self)
