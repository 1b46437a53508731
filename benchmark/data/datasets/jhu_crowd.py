"""JHU-Crowd++: 4372 web images, of which 514 were taken in fog, rain or snow.

Sindagi et al., JHU-CROWD++: Large-Scale Crowd Counting Dataset and A Benchmark Method, TPAMI 2020.
"""

from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from pydantic import PositiveInt

from benchmark.data.datasets.base import Dataset, Item, Published, Split
from benchmark.data.datasets.parts.pairs import (annotation_files, image_files, matched, pair,
                                                 stem)
from benchmark.data.datasets.parts.points import as_points
from benchmark.data.datasets.parts.rows import rows_of
from benchmark.registry import register
from benchmark.utils.errors import UserError, shown

HOMES = ("jhu_crowd_v2.0", "jhu_crowd_plusplus")
WEATHER = ("clear", "fog", "rain", "snow")  # by the number in image_labels.txt
LABELS = "image_labels.txt"


@register
class JhuCrowd(Dataset):
    """The official layout: {train,test}/{images/0001.jpg,gt/0001.txt,image_labels.txt}.

    Its folder val is not read: the benchmark holds its validation images out of train.

    weather: take only the images of one kind of weather, in both splits: natural controls for the
        triggers that look like weather. None takes all.
    max_side: the largest side in pixels. Without a limit, the training images would take 9 GB of
        memory.
    """

    where: ClassVar[str] = "download it from http://www.crowd-counting.com"
    licence: ClassVar[str] = "not known here; read its page before you use it"
    published: ClassVar[tuple[Published, ...]] = (Published({"train": 2272, "test": 1600}),)
    weather: Literal["clear", "fog", "rain", "snow"] | None = None
    max_side: PositiveInt | None = 1536

    def items(self, split: Split) -> list[Item]:
        folder = self.inside(self.folder(), split, around=HOMES)
        items = pair(image_files(self.inside(folder, "images"), stem),
                     annotation_files(self.inside(folder, "gt"), "*.txt"))
        return items if self.weather is None else self._of_weather(items, folder / LABELS)

    def points(self, item: Item) -> np.ndarray:
        """Return the first two of the columns x, y, width, height, occlusion and blur."""
        points = []
        for row in rows_of(item.annotation):
            try:
                x, y, _width, _height, _occlusion, _blur = map(float, row)
            except ValueError:
                raise UserError(f"{shown(item.annotation)}: {shown(' '.join(row))!r}: expected "
                                "lines of six numbers: x y width height occlusion blur") from None
            points.append((x, y))
        return as_points(points, item.annotation)

    def _of_weather(self, items: list[Item], path: Path) -> list[Item]:
        """Return the images of this weather. Raises UserError if a label is missing or wrong."""
        labels = {}
        for row in rows_of(path, ","):  # id, count, scene, weather, distractor
            if len(row) != 5 or row[3] not in ("0", "1", "2", "3"):
                raise UserError(f"{shown(path)}: {shown(','.join(row))!r}: expected lines of id, "
                                "count, scene, weather (0 to 3), distractor")
            labels[row[0]] = WEATHER[int(row[3])]
        partners = matched((item.id for item in items), labels)
        for item in items:
            if item.id not in partners:
                raise UserError(f"{shown(path)}: expected the weather of {shown(item.id)}, "
                                "found none")
        chosen = [item for item in items if labels[partners[item.id]] == self.weather]
        if not chosen:
            raise UserError(f"{shown(path)}: expected images with weather = {self.weather}, "
                            "found none")
        return chosen
