"""Ctrl-C and SIGTERM: the run stops, but only after the present write is finished."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_open_blocks = 0  # `unbroken` blocks that are being executed, one inside the other
_pending: int | None = None  # the number of a signal that came during them


def listen() -> None:
    """Turn SIGINT and SIGTERM into KeyboardInterrupt with the number of the signal.

    A signal that comes inside an `unbroken` block takes effect at the end of the block.
    A signal that the process ignores (as under nohup) stays ignored.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)


@contextmanager
def unbroken() -> Iterator[None]:
    """Execute a block to its end; a signal that comes meanwhile interrupts the run afterwards.

    Python handles signals in the main thread alone, and they never interrupt the block of another
    thread. So such a block neither puts off a signal nor takes it over.
    """
    global _open_blocks, _pending
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _open_blocks += 1
    try:
        yield
    finally:
        _open_blocks -= 1
        if _open_blocks == 0 and _pending is not None:
            number = _pending
            _pending = None
            raise KeyboardInterrupt(number)


def _stop(number: int, frame: Any) -> None:
    """Handle a signal; `frame` is required of a handler."""
    global _pending
    if _open_blocks:
        _pending = number
        return
    raise KeyboardInterrupt(number)
