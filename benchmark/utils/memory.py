"""Memory: large CPU buffers are reused; work that runs out of it is retried in smaller batches."""

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
M_TRIM_THRESHOLD = -1  # the numbers of these options in glibc's malloc.h
M_MMAP_THRESHOLD = -3


@cache
def keep_buffers() -> None:
    """Let this process keep the memory of large CPU tensors when they are freed.

    By default glibc returns each large buffer to the operating system, which must clear the pages
    of the next one; this takes a seventh of a training step of a small counter. Results do not
    change. With C libraries other than glibc, nothing is set.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(M_MMAP_THRESHOLD, 2**30)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def retry_with_smaller_batches(work: Callable[[int], Result], size: int, title: str,
                               failed: Callable[[str], Exception],
                               least: int = 1) -> tuple[Result, int]:
    """Call `work(size)`; while memory runs out, halve the size and call it again.

    work: takes a number of images at a time. Its memory is freed before the next attempt.
    size, least: the first size, and the smallest that is tried, in images at a time.
    title: names the work in the log.
    failed: makes the error to raise when memory runs out at `least` too, from the device's message.

    Returns the result of `work` and the size that it fitted in memory with.
    """
    while True:
        try:
            return work(size), size
        except (RuntimeError, MemoryError) as error:
            if not _is_out_of_memory(error):
                raise
            message = shorten(str(error), 100)
        # Only here, after the except block, does the error's traceback no longer hold the tensors.
        clear_device_cache(garbage_collection=True)
        if size <= least:
            raise failed(message)
        log(f"{title}: memory ran out with {size} images at a time; trying {size // 2}")
        size //= 2


def _is_out_of_memory(error: RuntimeError | MemoryError) -> bool:
    """Whether an error means that memory ran out.

    Accelerate recognises the messages of errors that have no type of their own, except C++'s.
    """
    return (isinstance(error, torch.OutOfMemoryError | MemoryError)
            or "std::bad_alloc" in str(error) or should_reduce_batch_size(error))
