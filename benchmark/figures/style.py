"""Style of the figures: sizes, fonts, and saving as PNG and PDF."""

from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.utils.files import whole_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMN = 3.5  # inches: the width of a column in a paper with two columns
LETTERS = 18  # letters per inch
STYLE = {
    "font.size": 7, "axes.titlesize": 7, "axes.linewidth": 0.6, "axes.spines.top": False,
    "axes.spines.right": False, "axes.grid": True, "axes.grid.axis": "y", "grid.linewidth": 0.3,
    "lines.linewidth": 1.2, "lines.markersize": 3.5, "legend.frameon": False,
    "pdf.fonttype": 42}  # 42 embeds fonts, so that text can be selected


def save(figure: "Figure", out: Path) -> None:
    """Save a figure as OUT.png and OUT.pdf, each file whole or not at all.

    The same figure gives the same bytes at any time. Raises OSError if a file cannot be written.
    """
    from matplotlib import rc_context

    out.parent.mkdir(parents=True, exist_ok=True)
    for kind, metadata in (("png", None), ("pdf", {"CreationDate": None})):
        with rc_context(STYLE), whole_file(out.with_name(f"{out.name}.{kind}")) as temporary:
            figure.savefig(temporary, format=kind, dpi=300, metadata=metadata)


def plain(text: str) -> str:
    """Text to be drawn literally: $ would begin a formula, and records hold text by anybody."""
    return text.replace("$", r"\$")
