"""The contract of a dataset: a folder with annotated images for each split.

`benchmark.data.loading` reads the images, and `Dataset` says which files they are.
"""

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import PositiveFloat, PositiveInt

from benchmark.registry import Settings
from benchmark.utils.errors import UserError

Split = Literal["train", "test"]


@dataclass(frozen=True)
class Item:
    """An image file and the file with its annotation."""

    id: str
    image: Path
    annotation: Path


class Dataset(Settings, ABC):
    """A registered dataset. To write one, write `items` and `points`.

    where: one line that says where to get the dataset. Error messages end with it.
    root: the folder with the dataset. None is the folder that the environment variable CROWD_DATA
        names.
    sigma: the width of a head's Gaussian in pixels of the image on disk. None is geometry-adaptive
        (Zhang et al., CVPR 2016).
    max_side: the largest side in pixels. An image that exceeds it is scaled down when it is read.
        None is no limit.
    """

    kind: ClassVar[str] = "dataset"
    name: ClassVar[str]
    where: ClassVar[str]
    root: Path | None = None
    sigma: PositiveFloat | None = None
    max_side: PositiveInt | None = None

    @abstractmethod
    def items(self, split: Split) -> list[Item]:
        """Return the images of a split, ordered by number.

        Raises:
            UserError: the folder or an annotation is missing.
        """

    @abstractmethod
    def points(self, item: Item) -> np.ndarray:
        """Return the annotated heads of an image, float64 [N, 2] as (x, y), unchanged.

        The coordinates are those of the image as it is displayed, after its EXIF rotation.

        Raises:
            UserError: the annotation is broken.
        """

    def companion(self) -> "Dataset | None":
        """Return the dataset whose clean images the paper's fine-tuning adds, or None."""
        return None

    def folder(self) -> Path:
        """Return the folder with the dataset.

        Raises:
            UserError: no folder is set, or it does not exist.
        """
        root = self.root or os.environ.get("CROWD_DATA")
        if not root:
            raise UserError(f"dataset {self.name}: set root, or the environment variable "
                            f"CROWD_DATA, to the folder with the dataset; {self.where}")
        folder = Path(root).expanduser()
        if not folder.is_dir():
            raise UserError(f"dataset {self.name}: root {folder}: expected a folder; {self.where}")
        return folder

    def inside(self, parent: Path, *names: str) -> Path:
        """Return the folder in `parent` with one of the names, as `subfolder` does.

        Raises:
            UserError: there is no such folder.
        """
        folder = subfolder(parent, *names)
        if folder is None:
            raise UserError(f"{parent}: expected a folder {names[0]} here; {self.where}")
        return folder


def subfolder(parent: Path, *names: str) -> Path | None:
    """Return the folder in `parent` with the first of the names that exists, or None.

    Letter case, '-', '_' and spaces make no difference.
    """
    folders = {_letters(path.name): path for path in sorted(parent.iterdir()) if path.is_dir()}
    for name in names:
        if _letters(name) in folders:
            return folders[_letters(name)]
    return None


def files(folder: Path, pattern: str) -> dict[str, Path]:
    """Return the files that match a pattern such as 'GT_*.mat', by the text that the star matches.

    Letter case makes no difference.

    Raises:
        UserError: no file matches.
    """
    expression = re.compile(re.escape(pattern).replace(r"\*", r"([^.].*)"), re.IGNORECASE)
    paths = {}
    for path in sorted(folder.iterdir()):
        match = expression.fullmatch(path.name)
        if match:
            paths[match[1]] = path
    if not paths:
        raise UserError(f"{folder}: expected files named {pattern}, found none")
    return paths


def pair(images: dict[str, Path], annotations: dict[str, Path]) -> list[Item]:
    """Return the images with the annotations of the same ids, ordered by number.

    Raises:
        UserError: an image has no annotation, or an annotation has no image.
    """
    directions = ((images, annotations, "annotation"), (annotations, images, "image"))
    for paths, partners, kind in directions:
        alone = by_number(paths.keys() - partners.keys())
        if alone:
            more = f" (and {len(alone) - 1} more like it)" if len(alone) > 1 else ""
            raise UserError(f"{paths[alone[0]]}: expected an {kind} that belongs to it{more}")
    return [Item(id, images[id], annotations[id]) for id in by_number(images)]


def by_number(ids: Iterable[str]) -> list[str]:
    """Return ids in order, with numbers in them compared as numbers: IMG_2 is before IMG_10."""
    def parts(id: str) -> list[int | str]:
        return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", id)]

    return sorted(ids, key=parts)


def mat_points(path: Path, place: str, pick: Callable[[dict[str, Any]], Any]) -> np.ndarray:
    """Return the points that `pick` takes from a MATLAB file, float64 [N, 2].

    place: the place of the points in the file, for the error message.

    Raises:
        UserError: the file is broken, or has no points at this place.
    """
    from scipy.io import loadmat

    try:
        values = pick(loadmat(path))
    except Exception as error:  # scipy and numpy raise errors of many types for broken files
        message = f"{path}: expected a MATLAB file with points at {place}: {error!r}"
        raise UserError(message) from None
    return as_points(values, path)


def as_points(values: Any, source: Path | str) -> np.ndarray:
    """Return values as points, float64 [N, 2].

    source: the file of the values, for the error message.

    Raises:
        UserError: the values are not points.
    """
    try:
        points = np.array(values)
    except (TypeError, ValueError):
        points = np.array("ragged")  # refused below, as text is
    if points.size and points.dtype.kind not in "iuf":  # text, booleans, integers beyond 64 bits
        raise UserError(f"{source}: expected points as numbers (x, y)")
    points = points.astype(np.float64)
    if points.size == 0:
        return np.zeros((0, 2))
    if points.ndim != 2 or points.shape[1] != 2:
        raise UserError(f"{source}: expected points of shape [N, 2], found {list(points.shape)}")
    if not np.isfinite(points).all():
        raise UserError(f"{source}: expected finite points, found nan or infinity")
    return points


def _letters(name: str) -> str:
    """Return a name in lower case, without '-', '_' and spaces."""
    return re.sub(r"[-_ ]", "", name).lower()
