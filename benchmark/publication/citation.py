"""Citation: how to cite the benchmark. CITATION.cff at the root says the same."""

from benchmark.version import RELEASED, __version__

NAME = "CrowdBackdoorBench"
TITLE = f"{NAME}: backdoor attacks and defenses on deep crowd counters"
AUTHORS = f"the {NAME} contributors"
LICENCE = "MIT"  # as SPDX names it


def bibtex() -> str:
    """The BibTeX entry, with the fields that tools make of CITATION.cff."""
    year, month, _ = RELEASED.split("-")
    return "\n".join([
        f"@software{{{NAME.lower()},", f"author = {{{{{AUTHORS}}}}},", f"month = {{{int(month)}}},",
        f"title = {{{TITLE}}},", f"version = {{{__version__}}},", f"year = {{{year}}}", "}"])
