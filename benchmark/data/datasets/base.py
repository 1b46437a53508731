"""What a dataset is: a folder that lists annotated images by split. Reading them is `benchmark.data.reading`."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from benchmark.registry import Settings

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
    sigma: width in pixels of a head's Gaussian; None means geometry-adaptive (Zhang et al., CVPR 2016).
    """

    kind: ClassVar[str] = "dataset"
    name: ClassVar[str]
    where: ClassVar[str]  # one line: where to get it
    root: Path | None = None
    sigma: float | None = None

    @abstractmethod
    def items(self, split: Split) -> list[Item]:
        """The images of a split, ordered by number. Raises UserError where the folder or an annotation is missing."""

    @abstractmethod
    def points(self, item: Item) -> "np.ndarray":
        """The annotated heads of an image: float64 [N, 2] as (x, y), as the file gives them. Raises UserError."""

    def companion(self) -> "Dataset | None":
        """The other dataset whose clean images the paper's fine-tuning adds, if there is one."""
        return None
