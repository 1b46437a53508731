"""A dataset of a plugin: its code and its settings are part of the keys, since they decide which heads are read."""

from pathlib import Path

import pytest
from factories import draw_scenes

from benchmark import registry
from benchmark.config.grid import cells
from benchmark.pipeline import cache_keys
from benchmark.pipeline.data_cache import DataCache

SOURCE = """
import numpy as np
from benchmark.data.datasets.base import Dataset, Item
from benchmark.registry import register

@register
class Mine(Dataset):
    where = "here"
    keep: int = 1

    def items(self, split):
        return [Item(path.stem, path, path) for path in sorted((self.folder() / split).glob("*.png"))]

    def points(self, item):
        return np.array([[1.0, 2.0], [3.0, 4.0]])[:: self.keep]
"""


@pytest.fixture
def key(tmp_path, monkeypatch):
    """A function: the key of the training split of `mine`, whose file has some source, with settings."""
    from PIL import Image

    for split in ("train", "test"):
        (tmp_path / "data" / split).mkdir(parents=True)
        for scene in draw_scenes(4):
            Image.fromarray(scene.image).save(tmp_path / "data" / split / f"{scene.id}.png")

    def of(source=SOURCE, folder="data", **settings):
        monkeypatch.setattr(registry, "_plugins", {})
        path = tmp_path / f"plugin{len(list(tmp_path.iterdir()))}" / "mine.py"
        path.parent.mkdir()
        path.write_text(source)
        registry.load_plugin(path)
        [cell] = cells({"data": {"name": "mine", "root": str(tmp_path / folder), **settings}, "model": "tiny"})
        return cache_keys.split(DataCache(), cell.data.build(), "train")
    return of


def test_other_code_and_other_settings_of_a_plugin_have_other_keys(key):
    assert key() == key() != key(keep=2)
    assert key() != key(SOURCE.replace("[1.0, 2.0]", "[1.5, 2.0]"))


def test_where_the_data_lies_does_not_matter(key, tmp_path):
    (tmp_path / "moved").symlink_to(Path(tmp_path / "data"))
    assert key() == key(folder="moved")
