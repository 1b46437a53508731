"""Fidelity: what is the same as in the public code of the originals, what differs, and why.

    python tests/scripts/fidelity.py --public FOLDER

FOLDER holds clones of the public repositories, each in a folder named owner+name; the script prints
which of them are missing. The script runs parts of their code at pinned commits: that code comes
from strangers, so run it where you would run any other program from them. No training is needed,
and the script takes about a minute. It writes docs/fidelity.md.
"""

import argparse
import importlib
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from fidelity_public import COMMITS, COMPARISONS, Clone, Comparison, find_clone
from fidelity_words import DIFFERENCES, NOT_COMPARED, RECURRING

PAGE = Path(__file__).parents[2] / "docs" / "fidelity.md"
FILES = ("networks", "triggers", "defenses")  # of comparisons
KINDS = ("model", "trigger", "defense")

INTRODUCTION = """\
# Fidelity

Most counters, triggers and defenses here were published by others, and were written anew for this
project. This page says how close they are to the originals. The first table lists what was compared
with public code: the same weights, images and other tensors went through both, and the largest
difference of any two numbers of the results is given, beside the largest magnitude in the original.
Differences of a few millionths of that magnitude are rounding in float32. The second table lists
what differs on purpose. No public code is part of this project.

The page is made by this command, where FOLDER holds clones of the repositories of the first table:

    python tests/scripts/fidelity.py --public FOLDER
"""


def measured(comparison: Comparison, clone: Clone | None) -> str:
    """The largest difference between the results of both codes, as text.

    Raises:
        ValueError: the results differ in shape or are not finite, or those of the original are all
            equal, so that a comparison would prove nothing.
    """
    torch.manual_seed(0)
    pairs = [(ours.detach().double(), original.detach().double())
             for ours, original in comparison.run(*filter(None, [clone]))]
    for ours, original in pairs:
        if ours.shape != original.shape:
            raise ValueError(f"expected {tuple(original.shape)}, got {tuple(ours.shape)}")
    ours, original = (torch.cat([result.flatten() for result in results])
                      for results in zip(*pairs))
    if not (ours.isfinite().all() and original.isfinite().all()) or original.unique().numel() < 2:
        raise ValueError("expected finite results, and those of the original not all equal")
    largest = float((ours - original).abs().max())
    return f"{largest:.2g} (values up to {float(original.abs().max()):.3g})"


def row_of(comparison: Comparison, public: Path) -> tuple[list[str], bool]:
    """A row of the table of comparisons, and whether the comparison failed with an error."""
    if comparison.repository is None:
        clone, original = None, f"none that can be run; {comparison.original}"
    else:
        clone = find_clone(public, comparison.repository)
        link = f"[{comparison.repository}](https://github.com/{comparison.repository})"
        original = f"{link} @ {COMMITS[comparison.repository][:7]}"
    row = [comparison.entry, original, comparison.what]
    if clone and clone.problem():
        return [*row, "not compared"], False
    try:
        return [*row, measured(comparison, clone)], False
    except Exception as error:  # public code may raise anything; the other rows are still made
        print(f"{comparison.entry}: {type(error).__name__}: {error}", file=sys.stderr)
        return [*row, "not compared: it failed"], True


def in_order() -> list[Comparison]:
    """All comparisons by kind and name."""
    return sorted(COMPARISONS, key=lambda comparison: (
        KINDS.index(comparison.entry.split()[0]), comparison.entry))


def print_missing(public: Path) -> None:
    """Print a line for each repository without a clone at the pinned commit."""
    for repository in sorted({comparison.repository for comparison in COMPARISONS} - {None}):
        clone = find_clone(public, repository)
        if problem := clone.problem():
            print(f"missing: {repository}: {problem}; expected https://github.com/{repository} "
                  f"at commit {COMMITS[repository]} in {clone.folder}")


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def page(rows: Sequence[Sequence[str]]) -> str:
    """The whole page. rows: those of the table of comparisons."""
    left_out = [f"* {', '.join(entries)}: {reason}" for entries, reason in NOT_COMPARED]
    sections = [
        INTRODUCTION, "## Compared\n",
        table(["entry", "public code", "what was compared", "largest difference"], rows),
        "\n## What differs, and why\n", RECURRING,
        table(["entry", "the original", "here", "why"], DIFFERENCES),
        "\n## Not compared\n", "\n".join(left_out)]
    return "\n".join(sections) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--public", type=Path, required=True, metavar="FOLDER",
                        help="folder with clones of the public repositories")
    parser.add_argument("--out", type=Path, default=PAGE, metavar="FILE", help="the page")
    options = parser.parse_args(arguments)
    for name in FILES:
        importlib.import_module(f"fidelity_{name}")  # registers its comparisons
    print_missing(options.public)
    with warnings.catch_warnings(action="ignore"):  # old public code calls deprecated functions
        rows, failures = zip(*(row_of(comparison, options.public) for comparison in in_order()))
    options.out.write_text(page(rows))
    return int(any(failures))


if __name__ == "__main__":
    sys.exit(main())
