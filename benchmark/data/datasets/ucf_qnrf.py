"""UCF-QNRF: 1535 web images of very dense crowds, up to 6000x9000 pixels.

Idrees et al., Composition Loss for Counting, Density Map Estimation and Localization in Dense
Crowds, ECCV 2018.
"""

from typing import ClassVar

import numpy as np
from pydantic import PositiveInt

from benchmark.data.datasets.base import Dataset, Item, Published, Split
from benchmark.data.datasets.parts.pairs import annotation_files, image_files, pair, stem
from benchmark.data.datasets.parts.points import mat_points
from benchmark.registry import register


@register
class UcfQnrf(Dataset):
    """The official layout: {Train,Test}/{img_0001.jpg,img_0001_ann.mat}.

    max_side: the largest side in pixels. Without a limit, the images would take 21 GB of memory.
    """

    where: ClassVar[str] = "download it from https://www.crcv.ucf.edu/data/ucf-qnrf"
    licence: ClassVar[str] = "not known here; read its page before you use it"
    published: ClassVar[tuple[Published, ...]] = (Published({"train": 1201, "test": 334}),)
    max_side: PositiveInt | None = 1536

    def items(self, split: Split) -> list[Item]:
        folder = self.inside(self.folder(), split.title(), around=("UCF-QNRF_ECCV18", "UCF-QNRF"))
        return pair(image_files(folder, stem), annotation_files(folder, "*_ann.mat"))

    def points(self, item: Item) -> np.ndarray:
        return mat_points(item.annotation, "annPoints", lambda mat: mat["annPoints"])
