"""Measuring: the values of images in batches, of fewer images where memory runs out."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor

from benchmark.data.scene import Scene
from benchmark.training.loop import TrainingFailed
from benchmark.utils.memory import retry_with_smaller_batches
from benchmark.utils.transfer import Awaited, one_behind

Measure = Callable[[list[Scene]], Awaited]  # the values of scenes of one size, [B, ...]


def measured(measure: Measure, scenes: Sequence[Scene], batches: Iterable[list[int]],
             batch_size: int, name: str) -> Iterator[tuple[list[int], Tensor]]:
    """Yield the indices of each batch with the values of its scenes, [B, ...], on the CPU.

    batches: indices of scenes of one size, at most `batch_size` of them.
    name: names the work in messages.

    When memory runs out, the remaining batches are measured in parts of half the size, which
    changes values only by rounding.

    Raises:
        TrainingFailed: memory runs out even with one image.
    """
    def out_of_memory(reason: str) -> TrainingFailed:
        return TrainingFailed(f"{name}: out of memory with one image at a time; "
                              f"try a smaller scale ({reason})")

    def sent() -> Iterator[tuple[list[int], list[Awaited]]]:
        """The indices of each batch, and its values on their way from the device."""
        limit = batch_size
        for indices in batches:
            work = partial(_in_parts, measure, [scenes[index] for index in indices])
            first_size = min(len(indices), limit)
            parts, size = retry_with_smaller_batches(work, first_size, name, out_of_memory)
            if size < len(indices):
                limit = size
            yield indices, parts

    for indices, parts in one_behind(sent()):  # the device has the next batch already
        yield indices, torch.cat([part.get() for part in parts])


def _in_parts(measure: Measure, scenes: list[Scene], size: int) -> list[Awaited]:
    """The values of the scenes of a batch, with at most `size` of them in a pass."""
    return [measure(scenes[start : start + size]) for start in range(0, len(scenes), size)]
