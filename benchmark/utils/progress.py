"""Progress bars and log lines on stderr, from the main process or drawn by another process."""

import os
import sys
import time
from collections.abc import Callable
from typing import Any

from tqdm import tqdm

from benchmark.utils.device import state
from benchmark.utils.signals import unbroken

LINE_SECONDS = 60  # between two lines of a bar in a file
_make_remote_bar: Callable[..., Any] | None = None  # set where another process draws the bars


def draw_elsewhere(make: Callable[..., Any]) -> None:
    """Let another process draw the bars of this one from now on.

    make: called as make(desc=, total=, unit=), returns a bar that the other process draws. It needs
    the attribute `n` and the methods `refresh` and `close`, as the bars of tqdm and Ray have them.
    """
    global _make_remote_bar
    _make_remote_bar = make


def log(line: str) -> None:
    """Print a line to stderr, once for all processes of a run."""
    if state().is_main_process:
        with unbroken():  # interrupted here, tqdm would release a lock that it has not got yet
            tqdm.write(line, file=sys.stderr)
            sys.stderr.flush()


class Bar(tqdm):
    """A progress bar with the rate and the time left, drawn here or by another process.

    In a file, where nothing can be drawn over, it is a line every LINE_SECONDS seconds and one at
    the end; what takes less time leaves no line.
    """

    def __init__(self, *args: Any, **settings: Any):
        self.remote_bar = None
        if _make_remote_bar is not None and not settings.get("disable"):
            settings["file"] = open(os.devnull, "w")  # nothing is drawn here
        self.in_lines = _make_remote_bar is None and not sys.stderr.isatty()
        self.began = self.last_line = time.monotonic()
        super().__init__(*args, **settings)
        if _make_remote_bar is not None and not self.disable:
            self.remote_bar = _make_remote_bar(desc=self.desc, total=self.total, unit=self.unit)
            self.remote_bar.refresh()  # a bar whose first message is its close would stay open

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:
        if self.in_lines:
            if msg is None and time.monotonic() >= self.last_line + LINE_SECONDS:
                self._write_line()
            return False
        if self.remote_bar is None:
            return super().display(msg, pos)
        self.remote_bar.n = self.n
        self.remote_bar.refresh()
        return True

    def close(self) -> None:
        if self.remote_bar is not None:
            self.remote_bar.n = self.n
            self.remote_bar.close()
            self.remote_bar = None
        if self.in_lines and not self.disable:
            if time.monotonic() >= self.began + LINE_SECONDS:
                self._write_line()
            self.leave = False
        super().close()

    def _write_line(self) -> None:
        self.fp.write(f"{self}\n")
        self.fp.flush()
        self.last_line = time.monotonic()
