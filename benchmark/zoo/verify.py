"""Verification: every file of a zoo is compared with its index."""

from pathlib import Path

from benchmark.utils.errors import shown
from benchmark.zoo.check import problem_of
from benchmark.zoo.index import INDEX, SharedStage, read_index, stage_folder


def problems(folder: Path) -> list[tuple[str, str]]:
    """The problems of a zoo: the path of each stage with one, and the problem in one line.

    Raises:
        UserError: it has no index, or a broken one.
    """
    found = []
    for key, stage in read_index(folder / INDEX, folder).stages.items():
        path = stage_folder(folder, key, stage)
        problem = _problem(path, stage) or problem_of(key, stage.files, path)
        if problem:
            found.append((shown(path), problem))
    return found


def _problem(folder: Path, stage: SharedStage) -> str | None:
    """The first file that is not as the index says."""
    for name, file in stage.files.items():
        if not (folder / name).is_file():
            return f"{name}: the file is missing"
        if not file.is_at(folder / name):
            return f"{name}: the file differs from the index"
    return None
