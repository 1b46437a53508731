"""Image files of an export, in the forms of two datasets: ShanghaiTech's, and `folder`'s.

An image is written once, as PNG, which changes no pixel. The second form has hard links to the
files of the first, or copies where the file system has no links.
"""

import json
import os
import shutil
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from benchmark.data.datasets.base import Split
from benchmark.data.datasets.parts.points import mat_file
from benchmark.data.loading import in_threads
from benchmark.data.scene import Scene

MAT_TEXT = b"MATLAB 5.0 MAT-file, exported by crowdbench"
SAMPLE = 4  # images whose size on the disk is measured


def write_split(scenes: Sequence[Scene], change: Callable[[Scene], Scene], shanghaitech: Path,
                folder: Path, split: Split, title: str) -> None:
    """Write the images of a split with their points in both forms.

    change: makes the scene that is written of each scene, for instance a stamped one.
    shanghaitech: the folder of a part, as part_B_final. folder: the root of a dataset `folder`.
    title: that of the progress bar.

    Raises:
        OSError: a file cannot be written.
    """
    images = shanghaitech / f"{split}_data" / "images"
    annotations = shanghaitech / f"{split}_data" / "ground-truth"
    linked = folder / split
    for new in (images, annotations, linked):
        new.mkdir(parents=True)

    def write(scene: Scene) -> None:
        scene = change(scene)
        name = f"{scene.id}.png"
        (images / name).write_bytes(as_png(scene.image))
        points = scene.points.astype(np.float64)
        (annotations / f"GT_{scene.id}.mat").write_bytes(mat_file(points, MAT_TEXT))
        _link(images / name, linked / name)

    in_threads(write, scenes, title)
    heads = {f"{scene.id}.png": scene.points.astype(float).tolist() for scene in scenes}
    (linked / "points.json").write_text(json.dumps(heads), encoding="utf-8")


def as_png(image: np.ndarray) -> bytes:
    """An image, uint8 [H, W, 3], as the content of a PNG file."""
    buffer = BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def estimated_size(scenes: Sequence[Scene], change: Callable[[Scene], Scene]) -> int:
    """The bytes that the images of a split will take, from a few of them."""
    if not scenes:
        return 0
    sample = scenes[:: max(len(scenes) // SAMPLE, 1)][:SAMPLE]
    written = sum(len(as_png(change(scene).image)) for scene in sample)
    pixels = sum(scene.image.size for scene in scenes)
    return round(written / sum(scene.image.size for scene in sample) * pixels)


def can_link(parent: Path) -> bool:
    """Whether files in a folder can have two names. Raises OSError if nothing can be written."""
    with TemporaryDirectory(dir=parent, prefix=".export-") as folder:
        first = Path(folder) / "first"
        first.touch()
        try:
            os.link(first, first.with_name("second"))
        except OSError:
            return False
    return True


def _link(path: Path, other: Path) -> None:
    """Give a file a second name, or copy it where the file system has no links."""
    try:
        os.link(path, other)
    except OSError:
        shutil.copyfile(path, other)
