"""Triggers that see the heads, or draw another trigger, in plans, keys and records."""

import pytest
from factories import ROOT
from PIL import Image

from benchmark.config.cell import Component
from benchmark.config.grid import cells
from benchmark.pipeline.graph import StageGraph
from benchmark.pipeline.record_builder import _trigger_warnings
from benchmark.pipeline.store import Store
from benchmark.results.describe import describe_component
from benchmark.utils.errors import UserError
from benchmark.utils.hashing import content_key

KNOWS = "trigger {}: the attacker knows where people are; it is drawn by the annotated heads, also on test images"
SMALL = {"name": "synthetic", "train": 12, "test": 4, "height": 64, "width": 96, "people": 20}


def a_cell(**attack):
    [cell] = cells({"data": SMALL, "attack": {"target": "multiply", **attack}})
    return cell


class SixImages:
    """A stand-in for a test split of 6 images, of which some carry the trigger."""

    def __init__(self, carriers):
        self.carriers = lambda attack: carriers

    def ids(self):
        return list("abcdef")


@pytest.mark.parametrize("attack, carriers, lines", [
    ({}, 6, []), ({"trigger": "in_box"}, 6, []), ({"trigger": "on_heads"}, 6, [KNOWS.format("on_heads")]),
    ({"trigger": "in_box", "look": "on_heads"}, 6, [KNOWS.format("in_box")]),
    ({"trigger": "if_crowded"}, 6, [KNOWS.format("if_crowded")]),
    ({"trigger": "if_crowded"}, 4, [KNOWS.format("if_crowded"), "trigger if_crowded: 2 of 6 test images do not carry "
                                    "it and are as without a trigger; all numbers are over all images"])])
def test_a_record_warns_of_what_a_reader_must_know(attack, carriers, lines):
    assert _trigger_warnings(a_cell(**attack), SixImages(carriers)) == lines


def test_a_record_without_an_attack_has_no_such_warning():
    [clean] = cells({"data": SMALL})
    assert _trigger_warnings(clean, SixImages(6)) == []


def test_a_condition_that_too_few_images_meet_is_found_before_anything_is_made(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    graph = StageGraph(Store(tmp_path / "store"))
    with pytest.raises(UserError, match="1 images to poison; trigger if_crowded is carried by 0 of the 11 training"):
        graph.stages(a_cell(trigger="if_crowded", people=10**6))
    assert graph.stages(a_cell(trigger="if_crowded", people=1)) and not (tmp_path / "store").exists()


def test_a_record_does_not_say_where_the_picture_of_a_look_lies(tmp_path):
    path = tmp_path / "picture.png"
    Image.new("RGB", (8, 8), "red").save(path)
    component = Component("trigger", "in_box", {"look": {"name": "blended", "image": str(path)}})
    choice = describe_component(component)
    for settings in (choice.given, choice.resolved):
        assert settings["look"]["image"].startswith("picture.png sha256 ") and str(tmp_path) not in str(settings)
    assert choice.version == "1, blended 1"
    before = content_key(component.cache_key)
    Image.new("RGB", (8, 8), "blue").save(path)
    again = Component("trigger", "in_box", {"look": {"name": "blended", "image": str(path)}})
    assert content_key(again.cache_key) != before


def test_triggers_of_before_have_the_keys_of_before():
    for path in (ROOT / "attacks" / "triggers").glob("[!_]*.py"):
        component = Component("trigger", path.stem, {})
        if path.stem not in ("in_box", "if_crowded"):
            assert component.cache_key == [path.stem, type(component.build()).version, {}]
