"""What a dataset is: a folder that lists annotated images by split. Reading them is `benchmark.data.reading`."""

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import scipy.io
from pydantic import PositiveFloat, PositiveInt

from benchmark.registry import Settings
from benchmark.utils.errors import UserError

Split = Literal["train", "test"]


@dataclass(frozen=True)
class Item:
    """An image on disk and where its annotation is."""

    id: str
    image: Path
    annotation: Path


class Dataset(Settings, ABC):
    """A registered dataset. Its settings say where it lies and which part of it is meant.

    root: the folder that holds it; where None, the folder that the environment variable CROWD_DATA names.
    sigma: width of a head's Gaussian, pixels of the image on disk; None: geometry-adaptive (Zhang et al., CVPR 2016).
    max_side: longest side, pixels; an image that exceeds it is scaled down when read. None: no limit.
    """

    kind: ClassVar[str] = "dataset"
    name: ClassVar[str]
    where: ClassVar[str]  # one line: where to get it
    root: Path | None = None
    sigma: PositiveFloat | None = None
    max_side: PositiveInt | None = None

    @abstractmethod
    def items(self, split: Split) -> list[Item]:
        """The images of a split, ordered by number. Raises UserError where the folder or an annotation is missing."""

    @abstractmethod
    def points(self, item: Item) -> np.ndarray:
        """The annotated heads of an image: float64 [N, 2] as (x, y), as the file gives them. Raises UserError.

        The coordinates are those of the image as it is displayed, that is after its EXIF rotation.
        """

    def companion(self) -> "Dataset | None":
        """The other dataset whose clean images the paper's fine-tuning adds, if there is one."""
        return None

    def folder(self) -> Path:
        """The folder that holds the dataset. Raises UserError where none is named or it does not exist."""
        root = self.root or os.environ.get("CROWD_DATA")
        if not root:
            raise UserError(f"dataset {self.name}: set root, or the environment variable CROWD_DATA, to the folder "
                            f"that holds it; {self.where}")
        folder = Path(root).expanduser()
        if not folder.is_dir():
            raise UserError(f"dataset {self.name}: root {folder}: expected a folder; {self.where}")
        return folder

    def inside(self, parent: Path, *names: str) -> Path:
        """The folder in `parent` that has one of the names, see `subfolder`. Raises UserError where there is none."""
        found = subfolder(parent, *names)
        if found is None:
            raise UserError(f"{parent}: expected a folder {names[0]} here; {self.where}")
        return found


def subfolder(parent: Path, *names: str) -> Path | None:
    """The first folder in `parent` with one of the names; letter case, '-', '_' and spaces make no difference."""
    folders = {_letters(path.name): path for path in sorted(parent.iterdir()) if path.is_dir()}
    return next((folders[_letters(name)] for name in names if _letters(name) in folders), None)


def files(folder: Path, pattern: str) -> dict[str, Path]:
    """The files that fit a pattern such as 'GT_*.mat', by what stands for the star. Case makes no difference.

    Raises:
        UserError: there is none.
    """
    fits = re.compile(re.escape(pattern).replace(r"\*", r"([^.].*)"), re.IGNORECASE)
    found = {match[1]: path for path in sorted(folder.iterdir()) if (match := fits.fullmatch(path.name))}
    if not found:
        raise UserError(f"{folder}: expected files named {pattern}")
    return found


def pair(images: dict[str, Path], annotations: dict[str, Path]) -> list[Item]:
    """Images and annotations of the same id, ordered by number.

    Raises:
        UserError: one of them stands alone.
    """
    for paths, others, missing in (images, annotations, "annotation"), (annotations, images, "image"):
        alone = by_number(paths.keys() - others.keys())
        if alone:
            more = f" (and {len(alone) - 1} more like it)" if len(alone) > 1 else ""
            raise UserError(f"{paths[alone[0]]}: expected an {missing} that belongs to it{more}")
    return [Item(id, images[id], annotations[id]) for id in by_number(images)]


def by_number(ids: Iterable[str]) -> list[str]:
    """Sorted with numbers as numbers: IMG_2 before IMG_10."""
    return sorted(ids, key=lambda id: [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", id)])


def mat_points(path: Path, place: str, pick: Callable[[dict[str, Any]], Any]) -> np.ndarray:
    """The points that `pick` takes from a MATLAB file: float64 [N, 2]; `place` says where they are expected.

    Raises:
        UserError: the file is broken or has nothing, or no points, there.
    """
    try:
        values = pick(scipy.io.loadmat(path))
    except Exception as error:  # scipy and numpy raise whatever a broken file makes them trip over
        raise UserError(f"{path}: expected a MATLAB file with points at {place}: {error!r}") from None
    return as_points(values, path)


def as_points(values: Any, source: Path | str) -> np.ndarray:
    """Values as points, float64 [N, 2]. Raises UserError, which names the source, where they are something else."""
    try:
        points = np.array(values)
    except (TypeError, ValueError):
        points = np.array("ragged")
    if points.size and points.dtype.kind not in "iuf":  # text, true and false, numbers without end
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
    return re.sub(r"[-_ ]", "", name).lower()
