"""Tables as LaTeX: floats with a caption, no wider and no longer than a page.

The columns of a wide table and the rows of a long one are spread over several floats, each with the
names of its rows. A table of more than MOST_PARTS widths has its brief columns alone. What is still
too wide, as a long name without spaces is, is scaled down.
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
WIDTH = 90  # of a page, in characters of \footnotesize
HEIGHT = 40  # of a page, in lines
LONGEST = (26, 18, 13)  # characters of a cell on one line; longer text is wrapped
PROSE = 60  # characters from which a cell is prose, which gets lines of PROSE_WIDTH
PROSE_WIDTH = 40
MOST_PARTS = 4  # of the columns
MOST_FLOATS = 8  # that LaTeX places by itself; more of them get pages of their own
BETWEEN = 2  # columns, in characters
POINTS = 4.3  # of an average character

_LATEX = {character: f"\\{character}" for character in "&%$#_{}"} | {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "`": r"\`{}", "[": "{[}",
    "]": "{]}", "*": "{*}", "\N{DAGGER}": r"\textdagger{}"}


@dataclass(frozen=True, eq=False)
class Column:
    """A column of a table.

    is_number: whether it holds numbers, which stand on the right. most: characters of a line.
    """

    heading: str
    cells: Sequence[str]
    is_number: bool
    most: int

    @property
    def longest(self) -> int:
        """The characters of its longest cell."""
        return max(map(len, self.cells), default=0)

    @cached_property
    def lines(self) -> list[str]:
        """The heading in lines that are no longer than its cells, or than its longest word."""
        return heading_lines(self.heading, min(self.longest, self.most)) or [""]

    @property
    def width(self) -> int:
        """In characters, with the space to the next column."""
        return max(min(self.longest, self.most), *map(len, self.lines)) + BETWEEN

    @property
    def alignment(self) -> str:
        if self.longest > self.most:
            return rf">{{\raggedright\arraybackslash}}p{{{self.most * POINTS:.0f}pt}}"
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

    The lead and the notes follow as text. A table without columns has only these.
    """
    caption, columns = table.caption or f"{table.title}.", _narrowest(table)
    for column in _names(columns):
        if len(column.cells) > 1 and len(set(column.cells)) == 1:
            columns.remove(column)
            caption += f" All rows are of {column.heading} {column.cells[0]}."
    notes = table.every_note
    widths = list(_column_parts(columns))
    if len(widths) > MOST_PARTS and table.brief:
        widths = list(_column_parts([column for column in columns
                                     if column.heading in ("attack", *table.brief)]))
        notes.append(f"The other columns are in {table.name}.csv.")
    parts = [(part, rows) for part in widths for rows in _row_parts(part)]
    lines = [PACKAGES]
    for number, (part, rows) in enumerate(parts, start=1):
        suffix = f" (Part {number} of {len(parts)})" if len(parts) > 1 else ""
        label = table.name if number == 1 else f"{table.name}-{number}"
        lines += _float(part, rows, f"{caption}{suffix}", label)
        if len(parts) > MOST_FLOATS:
            lines.append(r"\clearpage")
    for note in [*table.lead, *notes]:
        lines.append(rf"{{\footnotesize\sloppy\noindent {_text(note)}\par}}")
    return "\n".join([*lines, ""])


def _float(columns: Sequence[Column], rows: range, caption: str, label: str) -> Iterator[str]:
    """The lines of one part of a table."""
    alignments = "".join(column.alignment for column in columns)
    yield from (r"\begin{table}[!htbp]", r"\centering", rf"\caption{{{_text(caption)}}}",
                rf"\label{{tab:{label}}}", r"\footnotesize", r"\setlength{\tabcolsep}{4pt}",
                r"\resizebox{\ifdim\width>\linewidth \linewidth\else \width\fi}{!}{%",
                rf"\begin{{tabular}}{{{alignments}}}", r"\toprule",
                _row(column.title for column in columns), r"\midrule")
    for row in rows:
        yield _row(_text(column.cells[row]) for column in columns)
    yield from (r"\bottomrule", r"\end{tabular}}", r"\end{table}")


def _narrowest(table: Table) -> list[Column]:
    """The columns of a table with the length of lines that gives the fewest floats."""
    def floats(columns: list[Column]) -> int:
        return len(list(_column_parts(columns))) * len(list(_row_parts(columns)))

    return min([_columns(table, most) for most in LONGEST], key=floats)


def _columns(table: Table, most: int) -> list[Column]:
    columns = []
    for heading in table.frame:
        cells = list(table.frame[heading])
        is_prose = max(map(len, cells), default=0) > PROSE
        is_number = holds_numbers(cells)
        unbroken = [len(part) for cell in cells for part in ([cell] if is_number else cell.split())]
        lines = max([PROSE_WIDTH if is_prose else most, *unbroken])
        columns.append(Column(heading, cells, is_number, lines))
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
    if columns:
        yield names + part


def _row_parts(columns: Sequence[Column]) -> Iterator[range]:
    """The rows of the parts that are short enough."""
    first, lines, rows = 0, 0, len(columns[0].cells) if columns else 0
    for row in range(rows):
        height = max(math.ceil(len(column.cells[row]) / column.most) for column in columns)
        if row > first and lines + height > HEIGHT:
            yield range(first, row)
            first, lines = row, 0
        lines += height
    yield range(first, rows)


def _names(columns: Sequence[Column]) -> list[Column]:
    """The leading columns of text, four at most and with the rank, which name the rows."""
    names = itertools.takewhile(  # all columns but the last one, which would be left alone
        lambda column: column.heading == "rank" or not column.is_number, columns[:-1])
    return list(itertools.islice(names, 4))


def _row(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"


def _text(text: str) -> str:
    escaped = "".join(map(_character, one_line(text)))
    return re.sub(r"\brho\\_(Acc|Asr)\b", r"$\\rho_{\\mathrm{\1}}$", escaped)


def _character(character: str) -> str:
    plain = character if character.isascii() else f"U+{ord(character):04X}"
    return _LATEX.get(character, plain)
