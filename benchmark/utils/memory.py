"""Memory: large buffers are kept for the next step, and where it runs out, the same work is done in smaller parts."""

import ctypes
import sys
from collections.abc import Callable
from functools import cache
from textwrap import shorten
from typing import TypeVar

import torch
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size

from benchmark.utils.progress import log

Result = TypeVar("Result")
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h


@cache
def keep_buffers() -> None:
    """Let this process keep the memory of large tensors on the CPU when they are freed.

    By default glibc gives each buffer back to the system, which has to clear its pages anew for the next one: a seventh
    of a training step of a small counter. The results are the same. Other C libraries are left as they are.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        for option, size in ((M_MMAP_THRESHOLD, 2**30), (M_TRIM_THRESHOLD, 2**31 - 1)):
            libc.mallopt(option, size)


def retry_with_smaller_batches(work: Callable[[int], Result], size: int, title: str, failed: Callable[[str], Exception],
              least: int = 1) -> tuple[Result, int]:
    """What `work(size)` gives and the size; where memory runs out, of half the size, and so on down to `least`.

    size, least: images at a time. failed: makes of the device's own words the error that is raised when memory runs
    out at `least` too. What an attempt held is given back before the next one.
    """
    while True:
        try:
            return work(size), size
        except (RuntimeError, MemoryError) as error:
            if not _is_shortage(error):
                raise
            words = shorten(str(error), 100)
        clear_device_cache(garbage_collection=True)  # not above: until there the error's traceback holds all tensors
        if size <= least:
            raise failed(words)
        log(f"{title}: memory ran out with {size} images at a time; trying {size // 2}")
        size //= 2


def _is_shortage(error: RuntimeError | MemoryError) -> bool:
    """Whether memory ran out. Accelerate knows the words of errors without a type of their own, but for C++'s."""
    return (isinstance(error, torch.OutOfMemoryError | MemoryError) or "std::bad_alloc" in str(error)
            or should_reduce_batch_size(error))
