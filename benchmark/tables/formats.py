"""A table as Markdown, CSV, LaTeX and JSON: the same table, the same bytes.

Cells and notes hold text from records, which anybody may have written: it is escaped, never interpreted.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

import pandas as pd

MISSING = "not run"
NONE = "/"  # a number that does not exist, as the paper prints it

_NUMBER = r"[+-]?\d+(?:\.\d+)?"
_MARKDOWN = {character: f"\\{character}" for character in "\\`*|~"} | {"&": "&amp;"}
_LATEX = {character: f"\\{character}" for character in "&%$#_{}"} | {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", "`": r"\`{}", "[": "{[}",
    "]": "{]}", "*": "{*}", "\N{DAGGER}": r"\textdagger{}"}


@dataclass(frozen=True)
class Table:
    """name: of its files. title: one line. frame: text as printed, a row per line. notes: what stands under it."""

    name: str
    title: str
    frame: pd.DataFrame
    notes: list[str]


def number(value: float, digits: int = 3) -> str:
    """A number as printed; '/' for nan.

    >>> number(0.8671), number(-0.0001), number(float("nan"))
    ('0.867', '0.000', '/')
    """
    return NONE if value != value else f"{round(value, digits) + 0.0:.{digits}f}"


def with_interval(value: float, low: float, high: float, digits: int = 3) -> str:
    """A number and its interval.

    >>> with_interval(0.5, 0.41, 0.602), with_interval(0.5, float("nan"), 1.0)
    ('0.500 [0.410, 0.602]', '0.500')
    """
    ends = f" [{number(low, digits)}, {number(high, digits)}]"
    return number(value, digits) + ("" if NONE in ends else ends)


def probability(p: float) -> str:
    """A p value as printed.

    >>> probability(0.0312), probability(0.0001)
    ('0.031', '<.001')
    """
    return number(p) if p >= 0.001 else "<.001"


def markdown(table: Table) -> str:
    """A heading, a pipe table and the notes as a list."""
    frame = table.frame.map(text).rename(columns=text)
    body = frame.to_markdown(index=False, disable_numparse=True)
    return "\n".join([f"## {text(table.title)}", "", body, "", *(f"- {text(note)}" for note in table.notes), ""])


def csv(table: Table) -> str:
    """Header and rows. Text that a spreadsheet would run as a formula gets a leading apostrophe. No notes."""
    return table.frame.map(_csv_text).rename(columns=_csv_text).to_csv(index=False, lineterminator="\n")


def latex(table: Table) -> str:
    """A floating table for a document that loads booktabs and adjustbox, for any engine."""
    header, *rows = [re.sub(r"rho\\_(\w+)", r"$\\rho_{\\mathrm{\1}}$", " & ".join(map(_latex_text, row))) + r" \\"
                     for row in [table.frame.columns, *table.frame.values]]
    lines = [r"% \usepackage{booktabs, adjustbox}", r"\begin{table}", r"\centering",
             rf"\caption{{{_latex_text(table.title)}}}", rf"\label{{tab:{table.name}}}",
             r"\begin{adjustbox}{max width=\linewidth}", rf"\begin{{tabular}}{{{'l' * table.frame.shape[1]}}}",
             r"\toprule", header, r"\midrule", *rows, r"\bottomrule",
             r"\end{tabular}", r"\end{adjustbox}"]
    notes = [rf"\par\raggedright\footnotesize {_latex_text(note)}" for note in table.notes]
    return "\n".join([*lines, *notes, r"\end{table}", ""])


def as_json(table: Table) -> str:
    """Title, rows and notes. A number is a number, '0.5 [0.4, 0.6]' is {value, low, high}, '/' is null."""
    rows = [{heading: _value(text) for heading, text in zip(table.frame.columns, row)} for row in table.frame.values]
    told = {"name": table.name, "title": table.title, "rows": rows, "notes": table.notes}
    return json.dumps(told, indent=1, allow_nan=False) + "\n"


def _value(text: str) -> Any:
    if text == NONE:
        return None
    if found := re.fullmatch(rf"({_NUMBER}) \[({_NUMBER}), ({_NUMBER})\]", text):
        return dict(zip(("value", "low", "high"), map(float, found.groups())))
    return float(text) if re.fullmatch(_NUMBER, text) else text


def _one_line(text: str) -> str:
    """Printable text without line breaks: no control or direction characters."""
    return " ".join("".join(character if character.isprintable() else " " for character in str(text)).split())


def text(value: str) -> str:
    """Any text as one line of Markdown that shows it."""
    escaped = "".join(_MARKDOWN.get(character, character) for character in _one_line(value))
    escaped = re.sub(r"<(?=[A-Za-z/!?])", "&lt;", escaped)  # no tag; a p of <.001 is none
    escaped = re.sub(r"\](?=[(\[])", r"\\]", escaped)  # no link
    return re.sub(r"\b_+|_+\b", lambda found: found[0].replace("_", r"\_"), escaped)  # no emphasis; clip_ebc needs none


def _csv_text(text: str) -> str:
    line = _one_line(text)
    return f"'{line}" if re.match(r"[=@]|[+-](?![\d.]+$)", line) else line


def _latex_text(text: str) -> str:
    return "".join(_LATEX.get(character, character if character.isascii() else f"U+{ord(character):04X}")
                   for character in _one_line(text))
