"""Sizes in MATLAB files: what a file announces is compared with what it holds, before it is read.

scipy makes an array of the size that a file announces before it reads the contents, so that 200
bytes could take all memory. It also takes any number for the type of an array's values, and one
that stands for no type ends the process. The elements of a file of version 5 to 7 are described in
MathWorks, "MAT-File Format", chapter 1.
"""

import math
import struct
import zlib
from collections.abc import Iterable, Iterator

HEADER = 128  # bytes before the first element
MATRIX, COMPRESSED = 14, 15  # types of elements
FLAGS = 6  # the type of the first element of an array, which has 8 bytes
SPARSE = 5  # the class of an array
OF_VALUES = range(4, 16)  # the classes of arrays of text and of numbers
VALUES = {1, 2, 3, 4, 5, 6, 7, 9, 12, 13, 16, 17, 18}  # types of elements: text and numbers
NOTHING = (1, b"")  # stands for an element that an array lacks
MOST_UNPACKED = 64 * 2**20  # bytes
MOST_ELEMENTS = 10_000  # in a file; that of an image has about twenty
DEEPEST = 20  # arrays within each other

Element = tuple[int, bytes]  # its type and its contents


def problem_of(content: bytes) -> str | None:
    """The first problem of the sizes and types in a MATLAB file, for a message; None without one.

    A file of version 4, which announces only what follows at once, has no problem.
    """
    if len(content) < HEADER or 0 in content[:4]:
        return None
    try:
        _Sizes("<" if content[126:128] == b"IM" else ">").check_file(content[HEADER:])
    except (ValueError, zlib.error, struct.error) as error:
        return str(error)
    return None


class _Sizes:
    """The sizes in one file. order: its byte order, as `struct` writes it."""

    def __init__(self, order: str):
        self.order = order
        self.elements_left, self.bytes_left = MOST_ELEMENTS, MOST_UNPACKED

    def check_file(self, data: bytes) -> None:
        """Check all elements, also the compressed ones. Raises ValueError."""
        for kind, payload in self._elements(data):
            if kind == COMPRESSED:
                self._check_arrays(self._elements(self._unpacked(payload)), 0)
            else:
                self._check_arrays([(kind, payload)], 0)

    def _unpacked(self, payload: bytes) -> bytes:
        unpacked = zlib.decompressobj().decompress(payload, self.bytes_left + 1)
        self.bytes_left -= len(unpacked)
        if self.bytes_left < 0:
            raise ValueError(f"more than {MOST_UNPACKED:,} bytes once unpacked")
        return unpacked

    def _check_arrays(self, elements: Iterable[Element], depth: int) -> None:
        """Check the arrays among elements. Each of their values takes at least one byte."""
        if depth > DEEPEST:
            raise ValueError(f"arrays within each other, more than {DEEPEST} deep")
        for kind, payload in elements:
            if kind != MATRIX or not payload:
                continue
            flags, (_, size), *inner = [*self._elements(payload), NOTHING, NOTHING]
            array_class = self._class_in(*flags)
            if array_class in OF_VALUES and (unknown := {kind for kind, _ in inner} - VALUES):
                raise ValueError(f"values of the unknown type {min(unknown)}")
            sides = struct.unpack(f"{self.order}{len(size) // 4}i", size[:len(size) // 4 * 4])
            values = math.prod(max(side, 0) for side in sides)
            # Of a sparse array only the values that are not zero are held and allocated.
            if values > len(payload) and array_class != SPARSE:
                text = "x".join(map(str, sides))
                raise ValueError(f"an array of {text:.60} values in {len(payload):,} bytes")
            self._check_arrays(inner, depth + 1)

    def _class_in(self, kind: int, flags: bytes) -> int:
        """The class of an array, in its first element. Raises ValueError where that is another."""
        if kind != FLAGS or len(flags) != 8:
            raise ValueError("an array that does not begin with its class")
        return int(struct.unpack(f"{self.order}I", flags[:4])[0] & 0xff)

    def _elements(self, data: bytes) -> Iterator[Element]:
        """The elements in some bytes, one after the other. Raises ValueError."""
        position = 0
        while position + 8 <= len(data):
            self.elements_left -= 1
            if self.elements_left < 0:
                raise ValueError(f"more than {MOST_ELEMENTS:,} elements")
            kind, size = struct.unpack_from(f"{self.order}II", data, position)
            start = position + 8
            if kind >> 16:  # a small element, with its size in the upper half of its type
                kind, size, start = kind & 0xffff, kind >> 16, position + 4
            if start + size > len(data):
                raise ValueError("an element that is longer than the file")
            yield kind, data[start:start + size]
            position = start + size
            if kind != COMPRESSED:  # all others end at a multiple of 8 bytes
                position += -position % 8
