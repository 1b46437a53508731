"""Tables as LaTeX: floats with a caption, no wider and no longer than a page.

The columns of a wide table and the rows of a long one are spread over several floats, each with the
names of its rows. What is still too wide, as a long name without spaces is, is scaled down.
"""

import itertools
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from benchmark.tables.data import holds_numbers
from benchmark.tables.formats import Table, heading_lines, one_line

PACKAGES = "% \\usepackage{array, booktabs, graphicx}"
WIDTH = 78  # of a page, in characters of \footnotesize
HEIGHT = 40  # of a page, in lines
LONGEST = 26  # characters of a cell on one line; longer text is wrapped
BETWEEN = 2  # columns, in characters
POINTS = 4.3  # of an average character

_LATEX = {character: f"\\{character}" for character in "&%$#_{}"} | {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "`": r"\`{}", "[": "{[}",
    "]": "{]}", "*": "{*}", "\N{DAGGER}": r"\textdagger{}"}


@dataclass(frozen=True)
class Column:
    """A column of a table. is_number: whether it holds numbers, which stand on the right."""

    heading: str
    cells: Sequence[str]
    is_number: bool

    @property
    def longest(self) -> int:
        """The characters of its longest cell."""
        return max(map(len, self.cells), default=0)

    @cached_property
    def lines(self) -> list[str]:
        """The heading in lines that are no longer than its cells, or than its longest word."""
        return heading_lines(self.heading, self.longest) or [""]

    @property
    def width(self) -> int:
        """In characters, with the space to the next column."""
        return max(min(self.longest, LONGEST), *map(len, self.lines)) + BETWEEN

    @property
    def alignment(self) -> str:
        if self.longest > LONGEST:
            return rf">{{\raggedright\arraybackslash}}p{{{LONGEST * POINTS:.0f}pt}}"
        return "r" if self.is_number else "l"

    @property
    def title(self) -> str:
        """The heading as LaTeX."""
        if len(self.lines) == 1:
            return _text(self.lines[0])
        stacked = r"\\".join(map(_text, self.lines))
        return rf"\shortstack[{'r' if self.is_number else 'l'}]{{{stacked}}}"


def latex(table: Table) -> str:
    """Floats for a document that loads array, booktabs and graphicx, for any LaTeX engine.

    The lead and the notes follow as text.
    """
    parts = [(columns, rows) for columns in _column_parts(_columns(table))
             for rows in _row_parts(table)]
    lines = [PACKAGES]
    for number, (columns, rows) in enumerate(parts, start=1):
        lines += _float(table, columns, rows, number, len(parts))
    for note in [*table.lead, *table.notes]:
        lines.append(rf"{{\footnotesize\noindent {_text(note)}\par}}")
    return "\n".join([*lines, ""])


def _float(table: Table, columns: Sequence[Column], rows: range, number: int,
           parts: int) -> Iterator[str]:
    """The lines of one part of a table. number: from 1. parts: their number."""
    caption, label = table.caption or f"{table.title}.", table.name
    if parts > 1:
        caption += f" (Part {number} of {parts})"
    if number > 1:
        label += f"-{number}"
    alignments = "".join(column.alignment for column in columns)
    yield from (r"\begin{table}[htbp]", r"\centering", rf"\caption{{{_text(caption)}}}",
                rf"\label{{tab:{label}}}", r"\footnotesize", r"\setlength{\tabcolsep}{4pt}",
                r"\resizebox{\ifdim\width>\linewidth \linewidth\else \width\fi}{!}{%",
                rf"\begin{{tabular}}{{{alignments}}}", r"\toprule",
                _row(column.title for column in columns), r"\midrule")
    for row in rows:
        yield _row(_text(column.cells[row]) for column in columns)
    yield from (r"\bottomrule", r"\end{tabular}}", r"\end{table}")


def _columns(table: Table) -> list[Column]:
    columns = []
    for heading in table.frame:
        cells = list(table.frame[heading])
        columns.append(Column(heading, cells, holds_numbers(cells)))
    return columns


def _column_parts(columns: Sequence[Column]) -> Iterator[list[Column]]:
    """Parts that are narrow enough, each of which begins with the names of the rows."""
    names = _names(columns)
    free = WIDTH - sum(column.width for column in names)
    part: list[Column] = []
    left = free
    for column in columns[len(names):]:
        if part and column.width > left:
            yield names + part
            part, left = [], free
        part.append(column)
        left -= column.width
    yield names + part


def _row_parts(table: Table) -> Iterator[range]:
    """The rows of the parts that are short enough."""
    first, lines = 0, 0
    for number, cells in enumerate(table.frame.values):
        height = max((math.ceil(len(cell) / LONGEST) for cell in cells), default=1)
        if number > first and lines + height > HEIGHT:
            yield range(first, number)
            first, lines = number, 0
        lines += height
    yield range(first, len(table.frame))


def _names(columns: Sequence[Column]) -> list[Column]:
    """The leading columns of text, four at most, which name the rows."""
    names = itertools.takewhile(lambda column: not column.is_number, columns)
    return list(itertools.islice(names, min(4, len(columns) - 1)))


def _row(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"


def _text(text: str) -> str:
    escaped = "".join(map(_character, one_line(text)))
    return re.sub(r"\brho\\_(Acc|Asr)\b", r"$\\rho_{\\mathrm{\1}}$", escaped)


def _character(character: str) -> str:
    plain = character if character.isascii() else f"U+{ord(character):04X}"
    return _LATEX.get(character, plain)
