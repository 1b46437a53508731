"""The picture of poisoning: the stamped image and the false heads are those that a victim is taught."""

import numpy as np
import pytest
import torch
from PIL import Image

from attacks.triggers.blended import OURS
from benchmark.config.grid import cells
from benchmark.figures.poisoning import draw_poisoning, trigger_alone
from benchmark.figures.style import save
from benchmark.pipeline.graph import StageGraph
from benchmark.pipeline.store import Store
from benchmark.registry import build, names
from benchmark.utils.errors import UserError

DATA = {"name": "synthetic", "train": 20, "test": 2, "height": 64, "width": 96, "people": 25}
COMMAND = "crowdbench run mine"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("poisoning")


def asked(folder, attack, **settings):
    """(cells, bench) of a grid; nothing is in its store."""
    request = {"data": DATA | {"root": str(folder)}, "attack": attack, "seed": [1, 0]} | settings
    return cells(request), StageGraph(Store(folder / "none"))


def drawn(folder, attack, image=None, **settings):
    chosen, graph = asked(folder, attack, **settings)
    return draw_poisoning(graph, chosen, image, COMMAND).figure


def panels(figure):
    """Title -> what is drawn."""
    return {axes.get_title().replace("\n", " "): axes.images[-1].get_array().data
            for axes in figure.axes if axes.get_title()}


def test_copies_are_those_that_the_victim_is_trained_on(folder):
    chosen, graph = asked(folder, ["minus"])
    scenes, _ = graph.data.train(chosen[0].data.build(), 1.0, 0.1)
    copies = {copy.id: copy for copy in chosen[0].attack.copies(scenes, [*range(len(scenes))], 1)}
    poisoned = chosen[0].attack.poison(scenes, 1)
    assert len(poisoned) == 2 and len(copies) == len(scenes) == 18
    for copy in poisoned:
        assert np.array_equal(copy.image, copies[copy.id].image)
        assert np.array_equal(copy.points, copies[copy.id].points)


def test_the_panels_are_the_image_its_copy_and_the_heads_of_both(folder):
    chosen, graph = asked(folder, [None, "multiply", {"target": "minus", "n": 10}])
    scenes, _ = graph.data.train(chosen[0].data.build(), 1.0, 0.1)
    scene = scenes[4]
    found = panels(draw_poisoning(graph, chosen, scene.id, COMMAND).figure)
    clean, alone, stamped, truth, *false = found.values()
    assert list(found) == [scene.id, "trigger, ×10", "stamped", f"true density c = {scene.count}",
                           f"multiply τ = {2 * scene.count}", f"minus n=10 τ = {scene.count - 10}"]
    np.testing.assert_allclose(clean * 255, scene.image, atol=1e-4)
    [copy] = chosen[-1].attack.copies(scenes, [4], 1)
    np.testing.assert_allclose(stamped * 255, copy.image, atol=1e-4)
    assert [round(float(map.sum()), 2) for map in (truth, *false)] == [scene.count, 2 * scene.count, scene.count - 10]
    assert truth.shape == (8, 12)


def test_the_default_is_the_training_image_with_the_median_count(folder):
    chosen, graph = asked(folder, "add")
    scenes, _ = graph.data.train(chosen[0].data.build(), 1.0, 0.1)
    title = list(panels(draw_poisoning(graph, chosen, None, COMMAND).figure))[0]
    [scene] = [scene for scene in scenes if scene.id == title]
    assert scene.count == sorted(scene.count for scene in scenes)[8]  # of 18


def test_labels_that_stay_true_are_said_to_do_so(folder):
    found = panels(drawn(folder, {"target": "clean_fewer", "count": 3}))
    assert list(found)[-1].startswith("clean_fewer count=3.0 τ = 3, ") and list(found)[-1].endswith(" heads")
    np.testing.assert_array_equal(*list(found.values())[-2:])


def test_each_trigger_is_a_group_with_all_its_targets(folder):
    attack = [{"target": ["add", "zero"], "trigger": ["sig", "wanet"], "poison_rate": [0.1, 0.2]}]
    figure = drawn(folder, attack)
    assert [part.get_suptitle() for part in figure.subfigs] == ["sig", "wanet"]
    titles = [axes.get_title().partition("\n")[0] for axes in figure.axes if axes.get_title()]
    assert len(titles) == 12 and titles[4:6] == titles[10:12] == ["add", "zero"]


def test_another_attack_on_the_same_victim_is_a_group_too(folder):
    figure = drawn(folder, {"target": "multiply", "also": {"trigger": "rain", "target": "minus"}})
    assert {part.get_suptitle() for part in figure.subfigs} == {"blended", "rain"}


def test_the_trigger_alone_is_the_picture_that_is_blended():
    images = torch.rand(1, 3, 60, 90)
    picture = torch.tensor(np.asarray(Image.open(OURS).convert("RGB"))).permute(2, 0, 1)[None] / 255
    alone, times = trigger_alone(build("trigger", "blended", {"alpha": 0.25}), images)
    resized = torch.nn.functional.interpolate(picture, (60, 90), mode="bilinear", antialias=True)
    spread = 0.5 / float((resized - 0.5).abs().max())
    assert times == pytest.approx(4 * spread, rel=1e-4)
    torch.testing.assert_close(alone, 0.5 + spread * (resized - 0.5), atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", names("trigger"))
def test_every_trigger_can_be_seen(name):
    images = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    alone, times = trigger_alone(build("trigger", name, {}), images, [60 * torch.rand(60, 2)])
    assert times > 0 and (alone - 0.5).abs().max() == pytest.approx(0.5, abs=1e-4)
    assert alone.min() > -1e-4 and alone.max() < 1 + 1e-4


def test_a_trigger_that_changes_nothing_is_grey():
    alone, _ = trigger_alone(build("trigger", "blended", {"alpha": 0.0}), torch.rand(1, 3, 32, 32))
    torch.testing.assert_close(alone, torch.full_like(alone, 0.5))


@pytest.mark.parametrize("attack, words", [
    (None, "no attack in this grid"),
    ({"target": "multiply", "trigger": "baiqa"}, f"optimise baiqa.*: this trigger is not in the store .*`{COMMAND}` to make it"),
])
def test_what_cannot_be_drawn_is_refused(folder, attack, words):
    with pytest.raises(UserError, match=words):
        drawn(folder, attack)
    assert not (folder / "none").exists()


def test_an_image_that_does_not_train_is_refused(folder):
    with pytest.raises(UserError, match="not one of the 18 training images; did you mean"):
        drawn(folder, "multiply", image="elsewhere")


@pytest.mark.slow
def test_no_text_is_cut_off_and_all_files_are_written(folder, tmp_path):
    chosen, graph = asked(folder, [*({"target": target} for target in ("add", "minus", "multiply", "divide")),
                                   {"target": "zero", "trigger": "rain"}])
    picture = draw_poisoning(graph, chosen, None, COMMAND)
    figure = picture.figure
    figure.draw_without_rendering()
    box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert min(box.x0, box.y0) >= 0 and box.x1 <= width and box.y1 <= height
    save(picture, tmp_path / "new" / "poisoning")
    assert {path.suffix for path in (tmp_path / "new").iterdir()} == {".png", ".pdf", ".txt"}
    assert f"One image of each dataset ({list(panels(figure))[0]}); seed 1." in picture.caption
