"""Figures: the curves of an ablation, what defenses leave of attacks, and a page with a picture of every trigger."""

from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.utils.files import whole_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMN = 3.5  # inches, of a paper with two of them
LETTERS = 18  # in an inch
STYLE = {"font.size": 7, "axes.titlesize": 7, "axes.linewidth": 0.6, "axes.spines.top": False,
         "axes.spines.right": False, "axes.grid": True, "axes.grid.axis": "y", "grid.linewidth": 0.3,
         "lines.linewidth": 1.2, "lines.markersize": 3.5, "legend.frameon": False, "pdf.fonttype": 42}  # 42: as text


def save(figure: "Figure", out: Path) -> None:
    """Save a figure as out.png and out.pdf, the same bytes tomorrow."""
    from matplotlib import rc_context

    out.parent.mkdir(parents=True, exist_ok=True)
    for kind, metadata in (("png", None), ("pdf", {"CreationDate": None})):
        with rc_context(STYLE), whole_file(out.with_name(f"{out.name}.{kind}")) as temporary:
            figure.savefig(temporary, format=kind, dpi=300, metadata=metadata)


def plain(text: str) -> str:
    """Text that is drawn as it is: records hold what anybody may have written, and $ begins a formula."""
    return text.replace("$", r"\$")
