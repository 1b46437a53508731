"""Style of all figures: sizes, fonts, colours, and saving as PNG and PDF with a caption."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.utils.errors import printable
from benchmark.utils.files import whole_file, write_atomically

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

COLUMN = 3.5  # inches: the width of a column in a paper with two columns
LETTERS = 18  # letters per inch
DPI = 200  # of the PNG, whose file stays small; the PDF has lines and letters of any size

# The colours of Okabe and Ito, which colour-blind readers tell apart. Wherever they are used, a
# marker or a dash differs too, for a grey print.
BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
BLUE, VERMILION, PURPLE = "#0072B2", "#D55E00", "#CC79A7"
SERIES = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, BLACK)  # things of the same kind, in order
MARKERS = "os^Dv<>P"
UNDEFENDED, DEFENDED, CONTROL = VERMILION, BLUE, GREEN  # the same in all figures
BAND = "0.88"  # grey: counts within 10% of the truth

STYLE = {
    "font.size": 7, "axes.titlesize": 7, "axes.linewidth": 0.6, "axes.spines.top": False,
    "axes.spines.right": False, "axes.grid": True, "axes.grid.axis": "y", "axes.axisbelow": True,
    "grid.linewidth": 0.3, "lines.linewidth": 1.2, "lines.markersize": 3.5, "legend.frameon": False,
    "pdf.fonttype": 42}  # 42 embeds fonts, so that text can be selected


@dataclass(frozen=True)
class Picture:
    """A figure, and the caption that says what it shows: plain text without a line break.

    numbers: a row for each point that is drawn; None where the records already hold the numbers.
    """

    figure: "Figure"
    caption: str
    numbers: "pd.DataFrame | None" = None


def save(picture: Picture, out: Path, source: str = "") -> list[Path]:
    """Save a figure as OUT.png and OUT.pdf and its caption as OUT.txt, each whole or not at all.

    Its numbers, if it has any, become OUT.csv. The same figure gives the same bytes at any time.
    Returns the paths of the files. Raises OSError if a file cannot be written.

    source: the last words of the caption.
    """
    from matplotlib import rc_context

    from benchmark.tables.data import frame_csv

    out.parent.mkdir(parents=True, exist_ok=True)
    settings: dict[str, dict[str, Any]] = {"png": {"pil_kwargs": {"optimize": True}},
                                           "pdf": {"metadata": {"CreationDate": None}}}
    for kind, options in settings.items():
        with rc_context(STYLE), whole_file(out.with_name(f"{out.name}.{kind}")) as temporary:
            picture.figure.savefig(temporary, format=kind, dpi=DPI, **options)
    caption = printable(f"{picture.caption} {source}".strip())
    wrapped = textwrap.fill(caption, 100, break_long_words=False, break_on_hyphens=False)
    texts = {"txt": f"{wrapped}\n"}
    if picture.numbers is not None:
        texts["csv"] = frame_csv(picture.numbers)
    for kind, text in texts.items():
        write_atomically(out.with_name(f"{out.name}.{kind}"), text)
    return [out.with_name(f"{out.name}.{kind}") for kind in [*settings, *texts]]


def plain(text: str) -> str:
    """Text to be drawn literally: $ would begin a formula, and records hold text by anybody."""
    return text.replace("$", r"\$")


def add_legend(figure: "Figure") -> None:
    """Add a legend above all panels, with each label of theirs once, in as few lines as fit."""
    handles = {label: handle for axes in figure.axes
               for handle, label in zip(*axes.get_legend_handles_labels())}
    longest = 6 + max(map(len, handles))  # 6 letters for a line or a marker and its space
    fitting = max(1, int(LETTERS * figure.get_figwidth()) // longest)
    lines = -(-len(handles) // fitting)
    figure.legend(handles.values(), handles, loc="outside upper center",
                  ncols=-(-len(handles) // lines))


def mark(label: str, marker: str, colour: str, fill: str) -> "Line2D":
    """An entry of a legend: a marker without a line. fill: the colour inside it, or 'none'."""
    from matplotlib.lines import Line2D

    return Line2D([], [], linestyle="none", marker=marker, color=colour, markerfacecolor=fill,
                  label=label)


def number_logarithmic(axis: "Axis") -> None:
    """Number a logarithmic axis at 1, 2, 5, 10 and so on, as it spans few powers of ten."""
    from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_locator(NullLocator())


def draw_bars(axes: "Axes", x: Sequence[float], intervals: Sequence[tuple[float, float]],
              colour: str, width: float = 0.5) -> None:
    """Vertical bars from the lower to the upper end of each interval. width: in points."""
    axes.vlines(x, *zip(*intervals), color=colour, linewidth=width, alpha=0.6)
