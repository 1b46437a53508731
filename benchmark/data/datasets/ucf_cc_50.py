"""UCF-CC-50: 50 web images of very dense crowds, 1280 people each on average.

Idrees et al., Multi-Source Multi-Scale Counting in Extremely Dense Crowd Images, CVPR 2013.
"""

from typing import ClassVar

import numpy as np
from pydantic import Field

from benchmark.data.datasets.base import Dataset, Item, Published, Split
from benchmark.data.datasets.parts.folders import find_folder
from benchmark.data.datasets.parts.pairs import annotation_files, image_files, pair, stem
from benchmark.data.datasets.parts.points import mat_points
from benchmark.registry import register
from benchmark.utils.errors import UserError, shown

FOLDS = 5


@register
class UcfCc50(Dataset):
    """The official layout: {1.jpg,1_ann.mat}, in root or in its folder UCF_CC_50.

    fold: which of five folds is the test split; the others are trained on. The paper drew its folds
        at random and lists none, so they are taken by number: 1.jpg to 10.jpg are the first.
    """

    where: ClassVar[str] = ("download it from https://www.crcv.ucf.edu/data/ucf-cc-50; it is a "
                            ".rar, which another program must unpack")
    unpacked_by_hand: ClassVar[bool] = True
    licence: ClassVar[str] = "not known here; read its page before you use it"
    published: ClassVar[tuple[Published, ...]] = (Published({"train": 40, "test": 10}),)
    fold: int = Field(1, ge=1, le=FOLDS)

    def items(self, split: Split) -> list[Item]:
        root = self.folder()
        folder = find_folder(root, ["UCF_CC_50"]) or root
        items = pair(image_files(folder, stem), annotation_files(folder, "*_ann.mat"))
        if len(items) < FOLDS:
            raise UserError(f"{shown(folder)}: expected at least {FOLDS} images, one for each fold")
        first, end = ((fold * len(items)) // FOLDS for fold in (self.fold - 1, self.fold))
        return items[first:end] if split == "test" else items[:first] + items[end:]

    def points(self, item: Item) -> np.ndarray:
        return mat_points(item.annotation, "annPoints", lambda mat: mat["annPoints"])
