"""Ctrl-C and SIGTERM: what is being written is finished, then the run stops."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_depth = 0  # of writes that must not be broken off
_asked: int | None = None  # the signal that came meanwhile


def listen() -> None:
    """Turn both signals into KeyboardInterrupt with the signal's number, once nothing is being written."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)


@contextmanager
def unbroken() -> Iterator[None]:
    """What is done within is done to the end, whichever signal comes."""
    global _depth, _asked
    _depth += 1
    try:
        yield
    finally:
        _depth -= 1
        if _depth == 0 and _asked is not None:
            number, _asked = _asked, None
            raise KeyboardInterrupt(number)


def _stop(number: int, frame: Any) -> None:
    global _asked
    if _depth:
        _asked = number
        return
    raise KeyboardInterrupt(number)
