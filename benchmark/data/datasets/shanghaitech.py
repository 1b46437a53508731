"""ShanghaiTech: Part A, dense crowds in web images of any size, and Part B, streets at 1024x768.

Zhang et al., Single-Image Crowd Counting via Multi-Column Convolutional Neural Network, CVPR 2016.
"""

from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import model_validator

from benchmark.data.datasets.base import Dataset, Item, Published, Sigma, Split
from benchmark.data.datasets.parts.pairs import annotation_files, image_files, pair, stem
from benchmark.data.datasets.parts.points import mat_points
from benchmark.registry import register

# The folders that its archives unpack to, which hold both parts.
HOMES = ("ShanghaiTech", "ShanghaiTech_Crowd_Counting_Dataset",
         "shanghaitech_with_people_density_map")


@register
class ShanghaiTech(Dataset):
    """The official layout, part_B_final/train_data/{images/IMG_1.jpg,ground_truth/GT_IMG_1.mat}.

    Other spellings of the folders are accepted.

    part: Part A or Part B.
    sigma: the width of a head's Gaussian. The default is 15 pixels for Part B and geometry-adaptive
        for Part A.
    """

    where: ClassVar[str] = "download it from https://github.com/desenzhou/ShanghaiTechDataset"
    licence: ClassVar[str] = "BSD 2-Clause, says the repository with its download"
    published: ClassVar[tuple[Published, ...]] = (
        Published({"train": 300, "test": 182}, {"part": "A"}),
        Published({"train": 400, "test": 316}, {"part": "B"}))
    part: Literal["A", "B"] = "B"
    sigma: Sigma | None = 15.0

    @model_validator(mode="before")
    @classmethod
    def _part_a_is_adaptive(cls, settings: Any) -> Any:
        if isinstance(settings, dict) and settings.get("part") == "A":
            return {"sigma": None, **settings}
        return settings

    def items(self, split: Split) -> list[Item]:
        part = self.inside(self.folder(), f"part_{self.part}_final", f"part_{self.part}",
                           around=HOMES)
        folder = self.inside(part, f"{split}_data", split)
        return pair(image_files(self.inside(folder, "images"), stem),
                    annotation_files(self.inside(folder, "ground_truth"), "GT_*.mat"))

    def points(self, item: Item) -> np.ndarray:
        return mat_points(item.annotation, "image_info[0][0][0][0][0]",
                          lambda mat: mat["image_info"][0][0][0][0][0])

    def companion(self) -> "ShanghaiTech | None":
        """Return Part A for Part B, from the same root. Reading it fails if it is missing."""
        if self.part == "A":
            return None
        return ShanghaiTech(part="A", root=self.root, max_side=self.max_side)
