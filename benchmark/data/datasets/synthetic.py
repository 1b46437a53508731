"""Drawn crowd scenes, for the demo and the tests: deterministic, ours, in ShanghaiTech's own layout on disk.

They are drawn once, into `root` or the user's cache folder, and read by ShanghaiTech's reader.
"""

import os
import shutil
import tempfile
from io import BytesIO
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import scipy.io
from PIL import Image
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from benchmark.data.datasets.base import Dataset, Item, Split
from benchmark.data.datasets.shanghaitech import ShanghaiTech
from benchmark.data.loading import in_threads
from benchmark.data.scene_generator import draw_scene
from benchmark.registry import register
from benchmark.utils.hashing import content_key

DRAWING = 3  # raise it when the drawings change, so that old ones are not read
HEADER = b"MATLAB 5.0 MAT-file, drawn by crowdbench".ljust(116)  # scipy's holds the date: other bytes each time


@register
class Synthetic(Dataset):
    """Part B: street scenes. Part A: denser crowds, a quarter as many images.

    height, width: pixels of an image. train, test: images of Part B. people: in an average scene, before those
    that are hidden behind others are left out. seed: of the drawings.
    """

    where: ClassVar[str] = "it is drawn where it is missing"
    part: Literal["A", "B"] = "B"
    sigma: PositiveFloat | None = 2.0
    height: int = Field(144, ge=32)
    width: int = Field(224, ge=32)
    train: PositiveInt = 240
    test: PositiveInt = 100
    people: PositiveInt = 110
    seed: NonNegativeInt = 0

    def folder(self) -> Path:
        """The folder of the drawings; they are made first where they are missing."""
        drawn = self.model_dump(mode="json", exclude={"root", "sigma", "max_side", "part"})
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "crowdbench"
        folder = (self.root or cache).expanduser() / f"synthetic-{content_key([DRAWING, drawn])}"
        if not folder.is_dir():
            self._draw(folder)
        return folder

    def items(self, split: Split) -> list[Item]:
        return ShanghaiTech(root=self.folder(), part=self.part).items(split)

    def points(self, item: Item) -> np.ndarray:
        return ShanghaiTech(root=self.folder(), part=self.part).points(item)

    def companion(self) -> "Synthetic | None":
        """Part A for Part B, drawn with the same settings; its heads are geometry-adaptive, as ShanghaiTech's are."""
        return self.model_copy(update={"part": "A", "sigma": None}) if self.part == "B" else None

    def _draw(self, folder: Path) -> None:
        """Draw into a temporary folder and rename it; where another process was faster, its drawings stay."""
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".drawing-"))
        try:
            jobs = [(part, split, number) for part, share in (("B", 1), ("A", 4))
                    for split, count in (("train", self.train), ("test", self.test))
                    for number in range(1, max(count // share, 1) + 1)]
            for part, split, _ in jobs:
                for kind in ("images", "ground_truth"):
                    (temporary / f"part_{part}_final" / f"{split}_data" / kind).mkdir(parents=True, exist_ok=True)
            in_threads(lambda job: self._draw_one(temporary, *job), jobs, "draw scenes")
            if not folder.is_dir():
                os.replace(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _draw_one(self, root: Path, part: str, split: Split, number: int) -> None:
        rng = np.random.default_rng([self.seed, part == "A", split == "test", number])
        people = self.people * (1.5 if part == "A" else 1)
        image, points = draw_scene((self.height, self.width), people, rng)
        folder = root / f"part_{part}_final" / f"{split}_data"
        Image.fromarray(image).save(folder / "images" / f"IMG_{number}.jpg", quality=95)
        info = np.array([(points, np.array([[len(points)]]))], dtype=[("location", "O"), ("number", "O")])
        wrapped = np.empty((1, 1), object)
        wrapped[0, 0] = info.reshape(1, 1)
        written = BytesIO()
        scipy.io.savemat(written, {"image_info": wrapped})
        annotation = folder / "ground_truth" / f"GT_IMG_{number}.mat"
        annotation.write_bytes(HEADER + written.getvalue()[len(HEADER) :])
