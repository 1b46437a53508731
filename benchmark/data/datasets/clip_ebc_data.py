"""CLIP-EBC data: a dataset in the form that the preprocessing of CLIP-EBC's public code writes.

Ma, Sanchez, Guha, arXiv 2403.09281; the form is that of preprocess.py in Yiming-M/CLIP-EBC.
"""

from typing import ClassVar

import numpy as np

from benchmark.data.datasets.base import Dataset, Item, Split
from benchmark.data.datasets.parts.folders import entries
from benchmark.data.datasets.parts.pairs import (annotation_files, check_name, image_files, pair,
                                                 stem)
from benchmark.data.datasets.parts.points import npy_points
from benchmark.registry import register

FOLDERS: dict[Split, str] = {"train": "train", "test": "val"}


@register
class ClipEbcData(Dataset):
    """The layout {train,val}/{images/0001.jpg,labels/0001.npy}; val is the test split.

    Where there are images as arrays, images/0001.npy, these are read, as the public code does: they
    are the pixels before the compression to JPEG.
    """

    where: ClassVar[str] = ("write it with preprocess.py of https://github.com/Yiming-M/CLIP-EBC, "
                            "and give its --dst_dir as root")

    def items(self, split: Split) -> list[Item]:
        folder = self.inside(self.folder(), FOLDERS[split])
        images = self.inside(folder, "images")
        labels = annotation_files(self.inside(folder, "labels"), "*.npy")
        if not any(path.suffix.lower() == ".npy" for path in entries(images)):
            return pair(image_files(images, stem), labels)
        arrays = annotation_files(images, "*.npy")
        for path in arrays.values():
            check_name(path)
        return pair(arrays, labels)

    def points(self, item: Item) -> np.ndarray:
        return npy_points(item.annotation)
