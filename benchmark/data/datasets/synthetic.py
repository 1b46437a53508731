"""Synthetic: crowd scenes that the benchmark draws, for the demo and the tests.

They are deterministic. They are drawn once, into `root` or the user's cache folder, in the layout
of ShanghaiTech, and are read as ShanghaiTech is.
"""

import os
import shutil
import tempfile
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from PIL import Image
from pydantic import Field, NonNegativeInt

from benchmark.data.datasets.base import Dataset, Item, Sigma, Split
from benchmark.data.datasets.shanghaitech import ShanghaiTech
from benchmark.data.datasets.parts.points import mat_file
from benchmark.data.loading import in_threads
from benchmark.data.scene_generator import draw_scene
from benchmark.registry import register
from benchmark.utils.errors import UserError, shown
from benchmark.utils.files import publish, with_home
from benchmark.utils.hashing import content_key

# The version of the drawings: raise it when they change, so that old ones are not read. Threads
# wrote those of version 3 at once, and a file of them may have a wrong byte.
DRAWING = 4
MAT_TEXT = b"MATLAB 5.0 MAT-file, drawn by crowdbench"


@register
class Synthetic(Dataset):
    """Part B has street scenes. Part A has denser crowds and a quarter as many images.

    height, width: the size of an image in pixels.
    train, test: the number of images of Part B in each split.
    people: the number of people in an average scene. Some of them are hidden behind others, and
        those are not annotated.
    seed: the seed of the drawings.
    """

    where: ClassVar[str] = "it is drawn if it is missing"
    part: Literal["A", "B"] = "B"
    sigma: Sigma | None = 2.0
    height: int = Field(144, ge=32, le=2048)
    width: int = Field(224, ge=32, le=2048)
    train: int = Field(240, ge=1, le=100_000)
    test: int = Field(100, ge=1, le=100_000)
    people: int = Field(110, ge=1, le=10_000)
    seed: NonNegativeInt = 0

    def folder(self) -> Path:
        """Return the folder of the drawings. They are drawn first if they are missing."""
        settings = self.model_dump(mode="json", exclude={"root", "sigma", "max_side", "part"})
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "crowdbench"
        root = with_home(self.root or cache, f"dataset {self.name}: root")
        folder = root / f"synthetic-{content_key([DRAWING, settings])}"
        if not folder.is_dir():
            self._draw(folder)
        return folder

    def items(self, split: Split) -> list[Item]:
        return ShanghaiTech(root=self.folder(), part=self.part).items(split)

    def points(self, item: Item) -> np.ndarray:
        return ShanghaiTech(root=self.folder(), part=self.part).points(item)

    def companion(self) -> "Synthetic | None":
        """Return Part A for Part B, drawn with the same settings.

        The widths of its heads are geometry-adaptive, as in Part A of ShanghaiTech.
        """
        return self.model_copy(update={"part": "A", "sigma": None}) if self.part == "B" else None

    def _draw(self, folder: Path) -> None:
        """Draw all scenes into a temporary folder and rename it.

        If another process was faster, its drawings stay.

        Raises:
            UserError: there is a file where the folder would be, or its path is none.
            OSError: it cannot be written; the error names it.
        """
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError, ValueError):  # or it has a null character
            raise UserError(f"dataset {self.name}: root {shown(folder.parent)}: expected a folder, "
                            "or the path of a new one") from None
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".drawing-"))
        try:
            jobs = []
            for part, divisor in (("B", 1), ("A", 4)):
                for split, count in (("train", self.train), ("test", self.test)):
                    folder_of_split = temporary / f"part_{part}_final" / f"{split}_data"
                    (folder_of_split / "images").mkdir(parents=True)
                    (folder_of_split / "ground_truth").mkdir()
                    numbers = range(1, max(count // divisor, 1) + 1)
                    jobs += [(part, split, number) for number in numbers]
            in_threads(lambda job: self._draw_one(temporary, *job), jobs, "draw scenes")
            publish(temporary, folder)
        except OSError as error:
            if folder.is_dir():  # another process was faster
                return
            raise OSError(error.errno, error.strerror or str(error), str(folder)) from None
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _draw_one(self, root: Path, part: str, split: Split, number: int) -> None:
        """Draw one scene and write its image and annotation."""
        rng = np.random.default_rng([self.seed, part == "A", split == "test", number])
        people = self.people * (1.5 if part == "A" else 1)
        image, points = draw_scene((self.height, self.width), people, rng)
        folder = root / f"part_{part}_final" / f"{split}_data"
        Image.fromarray(image).save(folder / "images" / f"IMG_{number}.jpg", quality=95)
        annotation = folder / "ground_truth" / f"GT_IMG_{number}.mat"
        annotation.write_bytes(mat_file(points, MAT_TEXT))
