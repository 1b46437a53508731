"""Rows: the lines of a text file, such as a list of images, split into columns."""

from pathlib import Path

from benchmark.utils.errors import UserError, shown
from benchmark.utils.regular_files import check_regular

MOST_BYTES = 16 * 2**20  # of a file; the heads of 25 000 people take 1 MB


def rows_of(path: Path, separator: str | None = None) -> list[list[str]]:
    """Return the columns of each line that is not empty, without spaces around them.

    separator: the text between two columns; None is any number of spaces and tabs.

    Raises:
        UserError: the file is missing, too large or no text.
    """
    check_regular(path, MOST_BYTES)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (UnicodeDecodeError, OSError) as error:
        raise UserError(f"{shown(path)}: expected a text that can be read: "
                        f"{shown(error)}") from None
    lines = [line.split(separator) for line in text.splitlines() if line.strip()]
    return [[column.strip() for column in line] for line in lines]
