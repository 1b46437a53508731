"""Tables in the pages of docs/: each stands between two comments, of which the first names its records."""

from collections.abc import Callable, Mapping

from tabulate import tabulate


def markdown(rows: list[list[str]], header: list[str]) -> str:
    """A table in Markdown, of cells that are text already."""
    return tabulate(rows, header, tablefmt="github", disable_numparse=True)


def written(page: str, tables: Mapping[str, Callable[[], str]]) -> str:
    """A page with the tables of today in it. tables: the folder of records in the comment -> its table."""
    for folder, table in tables.items():
        begin, end = f"<!-- table of {folder} -->\n", "<!-- end -->"
        before, _, rest = page.partition(begin)
        _, _, after = rest.partition(end)
        page = f"{before}{begin}\n{table()}\n\n{end}{after}"
    return page
