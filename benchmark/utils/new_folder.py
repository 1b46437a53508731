"""The check of a folder that a command is to write: `--to FOLDER` must be new or empty."""

from pathlib import Path

from benchmark.utils.errors import UserError, shown


def check_new_folder(out: Path) -> None:
    """Raise UserError if there is something else at a path than an empty folder."""
    expected = f"--to {shown(out)}: expected a new or empty folder"
    if out.is_symlink() and not out.exists():
        raise UserError(f"{expected}, found a broken link")
    if out.exists() and not out.is_dir():
        raise UserError(f"{expected}, found a file")
    if out.is_dir() and any(out.iterdir()):
        raise UserError(f"{expected}, found one that is not empty")
