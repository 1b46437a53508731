"""The contract of a dataset: a folder with annotated images for each split.

`benchmark.data.loading` reads the images, and `Dataset` says which files they are.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
from pydantic import Field, PositiveInt

from benchmark.data.datasets.parts.folders import find_folder, is_named, listed
from benchmark.data.datasets.parts.pairs import Item
from benchmark.registry import Settings
from benchmark.utils.errors import UserError, shown
from benchmark.utils.files import with_home

Split = Literal["train", "test"]
Sigma = Annotated[float, Field(gt=0, le=1000)]  # pixels; a wider Gaussian is flat in any image


class Published(NamedTuple):
    """The numbers of images that the paper of a dataset states for each split.

    settings: those of the dataset that the numbers belong to, where they are not the default ones.
    """

    images: dict[Split, int]
    settings: dict[str, Any] = {}


class Dataset(Settings, ABC):
    """A registered dataset. To write one, write `items` and `points`.

    where: one line that says where to get the dataset. Error messages end with it.
    licence: its terms, in one line. A dataset without any is not downloaded.
    unpacked_by_hand: whether its archive is of a kind that `crowdbench data get` cannot unpack.
    published: the numbers of images that its paper states; empty where no paper does.
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
    licence: ClassVar[str] = ""
    unpacked_by_hand: ClassVar[bool] = False
    published: ClassVar[tuple[Published, ...]] = ()
    root: Path | None = None
    sigma: Sigma | None = None
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
        folder = with_home(root, f"dataset {self.name}: root")
        if not folder.is_dir():
            raise UserError(f"dataset {self.name}: root {shown(folder)}: expected a folder; "
                            f"{self.where}")
        return folder

    def inside(self, parent: Path, *names: str, around: Sequence[str] = ()) -> Path:
        """Return the folder in `parent` with one of the names, as `find_folder` does.

        Raises:
            UserError: there is no such folder, or there are several.
        """
        folder = find_folder(parent, names, around)
        if folder is None and is_named(parent, names):
            raise UserError(f"{shown(parent)}: this is {names[0]} itself; expected the folder that "
                            "holds it")
        if folder is None:
            raise UserError(f"{shown(parent)}: expected a folder {names[0]} here, found "
                            f"{listed(parent)}; {self.where}")
        return folder
