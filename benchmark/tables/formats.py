"""Tables, their cells as text that keeps its numbers, and tables as Markdown.

`benchmark.tables.data` writes the numbers for other programs, `benchmark.tables.latex` tables for
papers, and `benchmark.tables.terminal` those that fit a terminal. Cells and notes hold text from
records, which anybody may have written: it is escaped, so that no format interprets it.
"""

import math
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

MISSING = "not run"
NONE = "/"  # a number that does not exist, printed as in the paper
Value = float | int | str | None

_MARKDOWN = {character: f"\\{character}" for character in "\\`*|~"} | {"&": "&amp;"}


class Cell(str):
    """Text as it is printed, which keeps the values that other programs read instead.

    data: the values by what their columns add to the heading: {"": 0.5} for a number, and
        {"": 0.5, "_low": 0.4, "_high": 0.6} for one with an interval. None for what does not exist.
    """

    data: Mapping[str, Value]

    def __new__(cls, text: str, data: Mapping[str, Value]) -> "Cell":
        cell = super().__new__(cls, text)
        cell.data = data
        return cell

    def followed_by(self, text: str, **more: Value) -> "Cell":
        """The cell with some text behind it. more: values for further columns."""
        return Cell(f"{self}{text}", {**self.data, **more})


@dataclass(frozen=True)
class Table:
    """A table as it is printed.

    name: stem of its files. title: one line. frame: cells as text, see `as_frame`. notes: lines
    below the table. lead: lines above the table. caption: sentences for a paper; the title if ''.
    brief: the headings that a terminal shows; all if empty. details: more notes, which a terminal
    leaves to the files.
    """

    name: str
    title: str
    frame: "pd.DataFrame"
    notes: list[str]
    lead: Sequence[str] = ()
    caption: str = ""
    brief: Sequence[str] = ()
    details: Sequence[str] = ()

    @property
    def every_note(self) -> list[str]:
        """All lines below the table."""
        return [*self.notes, *self.details]


def as_frame(rows: Iterable[Mapping[str, str] | Sequence[str]],
             columns: Sequence[str] | None = None) -> "pd.DataFrame":
    """Rows of cells as a frame, which keeps the numbers of the cells."""
    import pandas as pd  # imported here because validate, which prints no table, need not wait

    return pd.DataFrame(list(rows), columns=columns, dtype=object)  # str would keep the text alone


def number(value: float, digits: int = 3) -> Cell:
    """A number as it is printed; '/' for nan.

    >>> number(0.8671), number(-0.0001), number(float("nan"))
    ('0.867', '0.000', '/')
    """
    if math.isnan(value):
        return Cell(NONE, {"": None})
    # + 0.0 turns -0.0 into 0.0
    return Cell(f"{round(value, digits) + 0.0:.{digits}f}",
                {"": float(value) if digits else round(value)})


def count(value: int) -> Cell:
    """A number of things."""
    return Cell(str(value), {"": int(value)})


def share_of(present: int, wanted: int) -> Cell:
    """A number of things, and how many there should be: '3/4'."""
    return Cell(f"{present}/{wanted}", {"": present, "_wanted": wanted})


def ranked(rank: int) -> Cell:
    """A place in a ranking, from 1."""
    return Cell(str(rank), {"": rank, "_status": "ranked"})


def unranked(status: str) -> Cell:
    """The reason why there is no rank, in the place of one."""
    return Cell(status, {"": None, "_status": status})


def interval(low: float, high: float, digits: int = 3) -> Cell:
    """The interval between two numbers; '/' if it does not exist.

    >>> interval(0.41, 0.602), interval(float("nan"), 1.0)
    ('[0.410, 0.602]', '/')
    """
    if math.isnan(low) or math.isnan(high):
        return Cell(NONE, {"_low": None, "_high": None})
    return Cell(f"[{number(low, digits)}, {number(high, digits)}]",
                {"_low": float(low), "_high": float(high)})


def with_interval(value: float, low: float, high: float, digits: int = 3) -> Cell:
    """A number and its interval; the number alone if the interval does not exist.

    >>> with_interval(0.5, 0.41, 0.602), with_interval(0.5, float("nan"), 1.0)
    ('0.500 [0.410, 0.602]', '0.500')
    """
    ends = interval(low, high, digits)
    return number(value, digits).followed_by("" if ends == NONE else f" {ends}", **ends.data)


def signed(value: float) -> Cell:
    """A difference as it is printed, with its sign.

    >>> signed(0.0312), signed(-0.0001)
    ('+0.031', '0.000')
    """
    return Cell(f"{value:+.3f}" if round(value, 3) else number(value), number(value).data)


def probability(p: float) -> Cell:
    """A p value as it is printed; '/' for nan.

    >>> probability(0.0312), probability(0.0001), probability(float("nan"))
    ('0.031', '<.001', '/')
    """
    return Cell("<.001" if p < 0.001 else number(p), number(p).data)


def markdown(table: Table) -> str:
    """The table as Markdown: a heading, the lead, a pipe table, and the notes as a list."""
    frame = table.frame.map(text).rename(columns=text)
    body = frame.to_markdown(index=False, disable_numparse=True)
    lead = [line for paragraph in table.lead for line in (text(paragraph), "")]
    notes = [f"- {text(note)}" for note in table.every_note]
    return "\n".join([f"## {text(table.title)}", "", *lead, body, "", *notes, ""])


def one_line(text: str) -> str:
    """Text without line breaks, control characters or changes of writing direction."""
    printable = (character if character.isprintable() else " " for character in str(text))
    return " ".join("".join(printable).split())


def heading_lines(heading: str, width: int) -> list[str]:
    """A heading in lines of at most `width` characters, or of its longest word."""
    words = one_line(heading).split()
    return textwrap.wrap(" ".join(words), max([width, *map(len, words)]), break_on_hyphens=False)


def text(value: str) -> str:
    """Any text as one line of Markdown that shows it as it is."""
    escaped = "".join(_MARKDOWN.get(character, character) for character in one_line(value))
    escaped = re.sub(r"<(?=[A-Za-z/!?])", "&lt;", escaped)  # tags; a p of <.001 is no tag
    escaped = re.sub(r"\](?=[(\[])", r"\\]", escaped)  # links
    # Emphasis: an underscore inside a word, as in clip_ebc, needs no escape.
    return re.sub(r"\b_+|_+\b", lambda match: match[0].replace("_", r"\_"), escaped)
