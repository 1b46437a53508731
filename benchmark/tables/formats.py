"""Formats of a table: Markdown, CSV, LaTeX and JSON. The same table gives the same bytes.

Cells and notes hold text from records, which anybody may have written: it is escaped, so that no
format interprets it.
"""

import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

MISSING = "not run"
NONE = "/"  # a number that does not exist, printed as in the paper

_NUMBER = r"[+-]?\d+(?:\.\d+)?"
_FORMULA = r"=+\-@\uff1d\uff0b\uff0d\uff20"  # what a formula begins with, also in full width
_MARKDOWN = {character: f"\\{character}" for character in "\\`*|~"} | {"&": "&amp;"}
_LATEX = {character: f"\\{character}" for character in "&%$#_{}"} | {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "`": r"\`{}", "[": "{[}",
    "]": "{]}", "*": "{*}", "\N{DAGGER}": r"\textdagger{}"}


@dataclass(frozen=True)
class Table:
    """A table as it is printed.

    name: stem of its files. title: one line. frame: cells as text. notes: lines below the table.
    lead: lines above the table.
    """

    name: str
    title: str
    frame: "pd.DataFrame"
    notes: list[str]
    lead: Sequence[str] = ()


def number(value: float, digits: int = 3) -> str:
    """A number as it is printed; '/' for nan.

    >>> number(0.8671), number(-0.0001), number(float("nan"))
    ('0.867', '0.000', '/')
    """
    if math.isnan(value):
        return NONE
    return f"{round(value, digits) + 0.0:.{digits}f}"  # + 0.0 turns -0.0 into 0.0


def interval(low: float, high: float, digits: int = 3) -> str:
    """The interval between two numbers; '/' if it does not exist.

    >>> interval(0.41, 0.602), interval(float("nan"), 1.0)
    ('[0.410, 0.602]', '/')
    """
    if math.isnan(low) or math.isnan(high):
        return NONE
    return f"[{number(low, digits)}, {number(high, digits)}]"


def with_interval(value: float, low: float, high: float, digits: int = 3) -> str:
    """A number and its interval; the number alone if the interval does not exist.

    >>> with_interval(0.5, 0.41, 0.602), with_interval(0.5, float("nan"), 1.0)
    ('0.500 [0.410, 0.602]', '0.500')
    """
    ends = interval(low, high, digits)
    return number(value, digits) if ends == NONE else f"{number(value, digits)} {ends}"


def signed(value: float) -> str:
    """A difference as it is printed, with its sign.

    >>> signed(0.0312), signed(-0.0001)
    ('+0.031', '0.000')
    """
    return f"{value:+.3f}" if round(value, 3) else number(value)


def probability(p: float) -> str:
    """A p value as it is printed; '/' for nan.

    >>> probability(0.0312), probability(0.0001), probability(float("nan"))
    ('0.031', '<.001', '/')
    """
    return "<.001" if p < 0.001 else number(p)


def markdown(table: Table) -> str:
    """The table as Markdown: a heading, the lead, a pipe table, and the notes as a list."""
    frame = table.frame.map(text).rename(columns=text)
    body = frame.to_markdown(index=False, disable_numparse=True)
    lead = [line for paragraph in table.lead for line in (text(paragraph), "")]
    notes = [f"- {text(note)}" for note in table.notes]
    return "\n".join([f"## {text(table.title)}", "", *lead, body, "", *notes, ""])


def csv(table: Table) -> str:
    """The header and the rows as CSV, without the lead and the notes.

    Text that a spreadsheet would run as a formula gets a leading apostrophe. It can also begin
    behind a semicolon, which separates the columns in some countries.
    """
    frame = table.frame.map(_csv_text).rename(columns=_csv_text)
    return frame.to_csv(index=False, lineterminator="\n")


def latex(table: Table) -> str:
    """A floating table for a document that loads booktabs and adjustbox, for any LaTeX engine."""
    columns = "l" * table.frame.shape[1]
    lines = [r"% \usepackage{booktabs, adjustbox}", r"\begin{table}", r"\centering",
             rf"\caption{{{_latex_text(table.title)}}}", rf"\label{{tab:{table.name}}}",
             r"\begin{adjustbox}{max width=\linewidth}", rf"\begin{{tabular}}{{{columns}}}",
             r"\toprule", _latex_row(table.frame.columns), r"\midrule",
             *map(_latex_row, table.frame.values), r"\bottomrule",
             r"\end{tabular}", r"\end{adjustbox}"]
    notes = [rf"\par\raggedright\footnotesize {_latex_text(note)}"
             for note in [*table.lead, *table.notes]]
    return "\n".join([*lines, *notes, r"\end{table}", ""])


def as_json(table: Table) -> str:
    """Name, title, rows and notes as JSON, and the lead of a table that has one.

    A number is a number, '0.5 [0.4, 0.6]' becomes {value, low, high}, and '/' becomes null.
    """
    rows = [dict(zip(table.frame.columns, map(_value, row))) for row in table.frame.values]
    fields = {"name": table.name, "title": table.title, "rows": rows, "notes": table.notes}
    if table.lead:
        fields["lead"] = list(table.lead)
    return json.dumps(fields, indent=1, allow_nan=False) + "\n"


def _value(text: str) -> Any:
    if text == NONE:
        return None
    if match := re.fullmatch(rf"({_NUMBER}) \[({_NUMBER}), ({_NUMBER})\]", text):
        return dict(zip(("value", "low", "high"), map(float, match.groups())))
    return float(text) if re.fullmatch(_NUMBER, text) else text


def _one_line(text: str) -> str:
    """Text without line breaks, control characters or changes of writing direction."""
    printable = (character if character.isprintable() else " " for character in str(text))
    return " ".join("".join(printable).split())


def text(value: str) -> str:
    """Any text as one line of Markdown that shows it as it is."""
    escaped = "".join(_MARKDOWN.get(character, character) for character in _one_line(value))
    escaped = re.sub(r"<(?=[A-Za-z/!?])", "&lt;", escaped)  # tags; a p of <.001 is no tag
    escaped = re.sub(r"\](?=[(\[])", r"\\]", escaped)  # links
    # Emphasis: an underscore inside a word, as in clip_ebc, needs no escape.
    return re.sub(r"\b_+|_+\b", lambda match: match[0].replace("_", r"\_"), escaped)


def _csv_text(text: str) -> str:
    line = re.sub(rf"(;\s*)(?=[{_FORMULA}])", r"\1'", _one_line(text))
    is_formula = re.match(rf"[{_FORMULA}]", line) and not re.fullmatch(_NUMBER, line)
    return f"'{line}" if is_formula else line


def _latex_row(cells: Iterable[str]) -> str:
    row = " & ".join(map(_latex_text, cells))
    return re.sub(r"rho\\_(\w+)", r"$\\rho_{\\mathrm{\1}}$", row) + r" \\"


def _latex_text(text: str) -> str:
    return "".join(map(_latex_character, _one_line(text)))


def _latex_character(character: str) -> str:
    plain = character if character.isascii() else f"U+{ord(character):04X}"
    return _LATEX.get(character, plain)
