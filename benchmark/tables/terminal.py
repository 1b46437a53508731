"""Tables for a terminal: plain text that is no wider than the terminal."""

import textwrap
from collections.abc import Iterator, Sequence
from string import Formatter

from benchmark.tables.data import holds_numbers
from benchmark.tables.formats import NONE, Table, heading_lines, one_line

LONGEST = (36, 28, 22, 18)  # characters of text on one line; the first with which most fits
BETWEEN = "  "  # columns
INDENT = "  "  # of rows below the name of their group


def terminal(table: Table, width: int, group: str = "") -> str:
    """The title, the lead, the columns that fit in `width` characters, and the notes.

    A number that does not exist is left empty. Columns that do not fit are named. A table without
    columns has only the other lines.

    group: a line above the rows that share it, '{model}, {attack}'; these are no columns then.
    """
    in_group = {heading for _, heading, _, _ in Formatter().parse(group)}
    headings = [heading for heading in table.brief or table.frame.columns
                if heading in table.frame and heading not in in_group]
    shown: list[_Column] = []
    for longest in LONGEST:
        columns = [_Column(heading, list(table.frame[heading]), longest) for heading in headings]
        fitting = _fitting(columns, width - (len(INDENT) if group else 0))
        shown = max(shown, fitting, key=len)
    lines = [one_line(table.title), *_wrapped(table.lead, width), ""]
    if shown:
        lines += [*_rows(table, shown, group), ""]
    notes = list(table.notes)
    if len(shown) < len(headings):
        left_out = ", ".join(headings[len(shown):])
        notes.append(f"Left out here, because the terminal is too narrow: {left_out}.")
    if table.details:
        notes.append(f"All columns, with their meanings: {table.name}.md in the folder of tables "
                     "(--out).")
    return "\n".join([*lines, *_wrapped(notes, width), ""])


class _Column:
    """A column as lines of equal length.

    title: the lines of the heading. cells: the lines of each cell; text has lines of at most
    `longest` characters, and a number is never broken.
    """

    def __init__(self, heading: str, cells: Sequence[str], longest: int) -> None:
        shown = ["" if cell == NONE else one_line(cell) for cell in cells]
        self.heading = heading
        self.is_number = holds_numbers(cells)
        needed = max(map(len, shown), default=0)
        if not self.is_number:
            needed = min(needed, longest)
        self.title = heading_lines(heading, needed)
        self.width = max([needed, *map(len, self.title)])
        self.cells = [textwrap.wrap(cell, self.width, break_on_hyphens=False) for cell in shown]

    def line(self, lines: Sequence[str], number: int) -> str:
        """A line of a heading or of a cell, with spaces up to the width of the column."""
        line = lines[number] if number < len(lines) else ""
        return line.rjust(self.width) if self.is_number else line.ljust(self.width)


def _fitting(columns: Sequence[_Column], width: int) -> list[_Column]:
    """The first columns that fit, and at least one if there is any."""
    fitting: list[_Column] = []
    left = width + len(BETWEEN)
    for column in columns:
        left -= len(BETWEEN) + column.width
        if fitting and left < 0:
            break
        fitting.append(column)
    return fitting


def _rows(table: Table, columns: Sequence[_Column], group: str) -> Iterator[str]:
    """The lines of the heading, of the groups and of the rows."""
    indent = INDENT if group else ""
    height = max(len(column.title) for column in columns)
    headings = [[""] * (height - len(column.title)) + column.title for column in columns]
    yield from _lines(columns, headings, indent)
    yield indent + BETWEEN.join("-" * column.width for column in columns)
    last = ""
    for number, row in enumerate(table.frame.to_dict("records")):
        name = one_line(group.format_map(row))
        if name != last:
            yield name
            last = name
        yield from _lines(columns, [column.cells[number] for column in columns], indent)


def _lines(columns: Sequence[_Column], cells: Sequence[Sequence[str]],
           indent: str) -> Iterator[str]:
    """The lines of one row."""
    for number in range(max(map(len, cells), default=0)):
        texts = [column.line(lines, number) for column, lines in zip(columns, cells)]
        yield (indent + BETWEEN.join(texts)).rstrip()


def _wrapped(paragraphs: Sequence[str], width: int) -> Iterator[str]:
    for paragraph in paragraphs:
        yield from textwrap.wrap(one_line(paragraph), width)
