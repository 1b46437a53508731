"""Progress bars and log lines on stderr, from the main process or drawn by another process."""

import os
import sys
from collections.abc import Callable
from typing import Any

from tqdm import tqdm

from benchmark.utils.device import state

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
        tqdm.write(line, file=sys.stderr)
        sys.stderr.flush()


class Bar(tqdm):
    """A progress bar with the rate and the time left, drawn here or by another process."""

    def __init__(self, *args: Any, **settings: Any):
        self.remote_bar = None
        if _make_remote_bar is not None and not settings.get("disable"):
            settings["file"] = open(os.devnull, "w")  # nothing is drawn here
        super().__init__(*args, **settings)
        if _make_remote_bar is not None and not self.disable:
            self.remote_bar = _make_remote_bar(desc=self.desc, total=self.total, unit=self.unit)
            self.remote_bar.refresh()  # a bar whose first message is its close would stay open

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:
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
        super().close()
