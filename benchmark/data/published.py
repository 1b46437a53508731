"""Published facts: where a dataset comes from, its terms, and the numbers of images to expect.

This is the command `crowdbench data get`.
"""

import inspect
import sys
from pathlib import Path

from benchmark import registry
from benchmark.data.datasets.base import Dataset, Published
from benchmark.utils.errors import UserError

COLUMN = 9  # width of the names of the facts


def describe(dataset: type[Dataset]) -> str:
    """Return the facts about a dataset and what to do next, a line each."""
    title = inspect.getdoc(sys.modules[dataset.__module__]) or ""
    lines = {"dataset": f"{dataset.name}. {title.partition(chr(10))[0]}", "where": dataset.where}
    if dataset.licence:
        lines["licence"] = dataset.licence
    counts = [f"{_settings(published)}{published.images['train']} in train, "
              f"{published.images['test']} in test" for published in dataset.published]
    if counts:
        lines["images"] = "; ".join(counts)
    lines["next"] = (f"crowdbench data get {dataset.name} ARCHIVE... --to FOLDER"
                     if dataset.licence and not dataset.unpacked_by_hand else
                     f"crowdbench data check {dataset.name} --root FOLDER")
    return "\n".join(f"{name:{COLUMN}}{text}" for name, text in lines.items())


def check_archived(dataset: type[Dataset]) -> None:
    """Check that a dataset is one that is downloaded. Raises UserError."""
    if not dataset.licence:
        raise UserError(f"dataset {dataset.name}: it has no archive; {dataset.where}")


def compare_counts(dataset: type[Dataset], folder: Path) -> tuple[list[str], bool]:
    """Compare the images in a folder with the numbers that the paper states.

    Returns a line for each split, and whether all numbers are as published.
    """
    lines, as_published = [], True
    for published in dataset.published:
        built = registry.build("dataset", dataset.name, {**published.settings, "root": str(folder)})
        for split, expected in published.images.items():
            try:
                found = len(built.items(split))
                text = f"{found} images, "
                text += "as published" if found == expected else f"expected {expected}"
            except UserError as error:
                found, text = None, f"not usable: {error}"
            as_published &= found == expected
            lines.append(f"{_settings(published)}{split:7}{text}")
    return lines, as_published


def _settings(published: Published) -> str:
    """Return the settings that numbers belong to, as the beginning of a line."""
    return "".join(f"{key}={value} " for key, value in published.settings.items())
