"""How far a run is: bars and lines on stderr, from the main process, or drawn where a cluster's run was started."""

import os
import sys
from collections.abc import Callable
from typing import Any

from tqdm import tqdm

from benchmark.utils.device import state

_elsewhere: Callable[..., Any] | None = None  # makes the bar that stands for one of this process


def draw_elsewhere(make: Callable[..., Any]) -> None:
    """From now on each bar shows what it knows to one that `make(desc=, total=, unit=)` gives."""
    global _elsewhere
    _elsewhere = make


def log(line: str) -> None:
    """A line on stderr, once for all processes of a run."""
    if state().is_main_process:
        tqdm.write(line, file=sys.stderr)
        sys.stderr.flush()


class Bar(tqdm):
    """A bar with rate and time left."""

    def __init__(self, *args: Any, **settings: Any):
        self.shown = None
        if _elsewhere is not None and not settings.get("disable"):
            settings["file"] = open(os.devnull, "w")
        super().__init__(*args, **settings)
        if _elsewhere is not None and not self.disable:
            self.shown = _elsewhere(desc=self.desc, total=self.total, unit=self.unit)
            self.shown.refresh()  # at once: one that is first heard of when it closes stays open

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:
        if self.shown is None:
            return super().display(msg, pos)
        self.shown.n = self.n
        self.shown.refresh()
        return True

    def close(self) -> None:
        if self.shown is not None:
            self.shown.n = self.n
            self.shown.close()
            self.shown = None
        super().close()
