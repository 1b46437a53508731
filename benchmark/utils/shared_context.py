"""Shared contexts: global state that several threads change in the same way at the same time."""

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from threading import Lock


class SharedContext:
    """A context that is entered with the first thread and left with the last one.

    A context that restores global state is not safe in threads: one that leaves early restores it
    for all, and one that leaves late restores what another had set.
    """

    def __init__(self, make: Callable[[], AbstractContextManager[object]]):
        self._make = make
        self._lock = Lock()
        self._threads = 0
        self._entered = ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if self._threads == 0:
                self._entered.enter_context(self._make())
            self._threads += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._threads -= 1
            if self._threads == 0:
                self._entered.close()


without_warnings = SharedContext(lambda: warnings.catch_warnings(action="ignore"))
