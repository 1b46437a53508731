"""A table as Markdown, CSV and LaTeX: the same table, the same bytes.

Cells and notes hold text from records, which anybody may have written: it is escaped, never interpreted.
"""

import re
from dataclasses import dataclass

import pandas as pd

MISSING = "not run"
NONE = "/"  # a number that does not exist, as the paper prints it

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


def markdown(table: Table) -> str:
    """A heading, a pipe table and the notes as a list."""
    frame = table.frame.map(_markdown_text).rename(columns=_markdown_text)
    body = frame.to_markdown(index=False, disable_numparse=True)
    return "\n".join([f"## {table.title}", "", body, "", *(f"- {_markdown_text(note)}" for note in table.notes), ""])


def csv(table: Table) -> str:
    """Header and rows. Text that a spreadsheet would run as a formula gets a leading apostrophe. No notes."""
    return table.frame.map(_csv_text).to_csv(index=False, lineterminator="\n")


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


def _one_line(text: str) -> str:
    """Printable text without line breaks: no control or direction characters."""
    return " ".join("".join(character if character.isprintable() else " " for character in str(text)).split())


def _markdown_text(text: str) -> str:
    escaped = "".join(_MARKDOWN.get(character, character) for character in _one_line(text))
    escaped = re.sub(r"<(?=[A-Za-z/!?])", "&lt;", escaped)  # no tag; a p of <.001 is none
    escaped = re.sub(r"\](?=[(\[])", r"\\]", escaped)  # no link
    return re.sub(r"\b_+|_+\b", lambda found: found[0].replace("_", r"\_"), escaped)  # no emphasis; clip_ebc needs none


def _csv_text(text: str) -> str:
    line = _one_line(text)
    return f"'{line}" if re.match(r"[=@]|[+-](?![\d.]+$)", line) else line


def _latex_text(text: str) -> str:
    return "".join(_LATEX.get(character, character if character.isascii() else f"U+{ord(character):04X}")
                   for character in _one_line(text))
