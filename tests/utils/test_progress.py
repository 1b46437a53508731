"""Progress is a bar in a terminal, and a line a minute in a file."""

import io
import sys

import pytest

from benchmark.utils import progress
from benchmark.utils.progress import Bar


class Terminal(io.StringIO):
    def isatty(self):
        return True


def drawn(monkeypatch, stream, seconds):
    """What is written where a bar of 50 steps is waited for, with a line for each so many seconds."""
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(progress, "LINE_SECONDS", seconds)
    with Bar(total=50, desc="train", unit="img") as bar:
        for _ in range(50):
            bar.update()
            bar.set_postfix(loss=1)  # as after each epoch, which draws a bar at once
    for _ in Bar(range(3), desc="count"):
        pass
    return stream.getvalue()


def test_a_file_gets_whole_lines_and_the_last_one_says_that_all_is_done(monkeypatch):
    lines = drawn(monkeypatch, io.StringIO(), 0).splitlines()
    assert len(lines) > 4 and all(line.startswith(("train: ", "count: ")) for line in lines)
    assert "\r" not in "".join(lines) and "50/50" in [line for line in lines if "train" in line][-1]


def test_what_takes_less_than_a_minute_leaves_no_line_in_a_file(monkeypatch):
    assert drawn(monkeypatch, io.StringIO(), 60) == ""


def test_a_terminal_gets_a_bar(monkeypatch):
    written = drawn(monkeypatch, Terminal(), 60)
    assert "\rtrain: 100%" in written and "\rcount: 100%" in written


@pytest.mark.parametrize("seconds", [0, 60])
def test_a_bar_that_is_switched_off_writes_nothing(monkeypatch, seconds):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(progress, "LINE_SECONDS", seconds)
    for _ in Bar(range(3), disable=True):
        pass
    assert stream.getvalue() == ""
