"""Transfers between the host's memory and a device, made so that neither waits for the other.

A GPU copies while the program goes on only from and to pinned memory, which is never swapped out.
Each transfer has a price of its own, so all that a batch needs goes in one.
"""

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self, TypeVar

import numpy as np
import torch
from torch import Tensor

Element = TypeVar("Element")


@dataclass(frozen=True)
class Parcel:
    """float32 arrays and uint8 images in one block of the host's memory, for one transfer.

    block: the numbers of the arrays and then the pixels of the images, uint8 [bytes].
    shapes: those of the arrays.
    device: where the block goes.
    """

    block: Tensor
    shapes: list[tuple[int, ...]]
    device: torch.device

    @classmethod
    def of(cls, arrays: Sequence[np.ndarray], images: Sequence[np.ndarray],
           device: torch.device) -> Self:
        """Copy arrays and images into a block. It runs in any thread, without torch's threads."""
        numbers = 4 * sum(array.size for array in arrays)  # bytes; they come first to be aligned
        size = numbers + sum(image.size for image in images)
        block = torch.empty(size, dtype=torch.uint8, pin_memory=device.type == "cuda")
        _write(arrays, block.numpy()[:numbers].view(np.float32))
        _write(images, block.numpy()[numbers:])
        return cls(block, [array.shape for array in arrays], device)

    def send(self) -> tuple[list[Tensor], Tensor]:
        """Return the arrays on the device, and the pixels of all images there, uint8 [bytes].

        A GPU has yet to copy them when this returns. Its own work waits for them, and torch keeps
        the block until then.
        """
        block = self.block.to(self.device, non_blocking=self.device.type == "cuda")
        sizes = [math.prod(shape) for shape in self.shapes]
        numbers = block[: 4 * sum(sizes)].view(torch.float32).split(sizes)
        arrays = [part.view(shape) for part, shape in zip(numbers, self.shapes)]
        return arrays, block[4 * sum(sizes) :]


def _write(arrays: Sequence[np.ndarray], into: np.ndarray) -> None:
    """Copy the values of arrays one after the other into an array [N]."""
    start = 0
    for array in arrays:
        into[start : start + array.size].reshape(array.shape)[...] = array
        start += array.size


class Awaited:
    """A tensor on its way from the device. The program waits for it only when it asks for it."""

    def __init__(self, values: Tensor):
        self._values = values
        self._arrival: torch.cuda.Event | None = None
        if values.device.type == "cuda":
            self._values = values.to("cpu", non_blocking=True)  # into pinned memory
            self._arrival = torch.cuda.current_stream(values.device).record_event()

    def get(self) -> Tensor:
        """Return the tensor in the host's memory."""
        if self._arrival is not None:
            self._arrival.synchronize()
        return self._values.cpu()


def one_behind(elements: Iterable[Element]) -> Iterator[Element]:
    """Yield each element after the next one has been made, and the last one at the end.

    Who waits for the result of a batch has then sent the next batch already.

    >>> made = (print(f"make {number}") or number for number in range(3))
    >>> for number in one_behind(made):
    ...     print(f"use {number}")
    make 0
    make 1
    use 0
    make 2
    use 1
    use 2
    """
    made: deque[Element] = deque()
    for element in elements:
        made.append(element)
        if len(made) == 2:
            yield made.popleft()
    yield from made
