"""Maps of counters: they show what the stored counters predict, and nothing is trained for them."""

import matplotlib
import numpy as np
import pytest
import torch
from torch import nn

from benchmark.config.grid import cells
from benchmark.data.splits import load_train
from benchmark.figures.before_after import attacked, before_after_pairs, index_of
from benchmark.figures.counter_maps import agreement, draw_gradcam, draw_maps, gradcam
from benchmark.figures.style import save
from benchmark.pipeline.graph import StageGraph
from benchmark.pipeline.store import Store
from benchmark.registry import build
from benchmark.utils.errors import UserError
from benchmark.utils.tensors import read_tensors, write_tensors

pytestmark = pytest.mark.slow

REQUEST = {
    "data": {"name": "synthetic", "train": 20, "test": 2, "height": 60, "width": 90, "people": 25},
    "model": {"name": "tiny", "width": 8}, "attack": [None, {"target": "multiply", "test_alpha": 0.4}, "minus"],
    "defense": ["none", {"name": "fine_tune", "epochs": 1}, "blur", "strip"],
    "training": {"epochs": 3, "precision": "fp32"}, "hold_out": 0.25, "seed": [3, 0],
}
COMMAND = "crowdbench run mine"


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    """(cells, bench) of a small grid whose victims and repaired counters of the first seed are in the store."""
    folder = tmp_path_factory.mktemp("counters")
    chosen = cells(REQUEST | {"data": REQUEST["data"] | {"root": str(folder)}})
    graph = StageGraph(Store(folder / "store"))
    for cell in attacked(chosen):
        graph.store.get(graph.repaired(cell))
    return chosen, graph


@pytest.fixture
def shown(grid):
    return before_after_pairs(grid[1], grid[0], "fine_tune", None, COMMAND)


def asked(grid, graph=None, shown="fine_tune", image=None, **settings):
    """The pairs of a grid with other settings."""
    data = {"name": "synthetic", **grid[0][0].data.given}
    return before_after_pairs(graph or grid[1], cells(REQUEST | {"data": data} | settings), shown, image, COMMAND)


def stored(graph, stage):
    """A counter with the weights of a stage, built by hand."""
    counter = build("model", "tiny", {"width": 8})
    counter.load_state_dict(read_tensors(graph.store.path(stage) / "weights.safetensors")[0])
    return counter.eval()


def rows(figure, panels):
    """The panels of each row, in order."""
    drawn = [axes for axes in figure.axes if axes.get_title()]
    assert len(drawn) % panels == 0
    return [drawn[first : first + panels] for first in range(0, len(drawn), panels)]


def heat(axes):
    """The map of a panel."""
    return axes.images[-1].get_array().data


# What is shown

def test_every_attack_of_the_first_seed_is_shown_on_a_validation_image(grid, shown):
    dataset = shown[0].cell.data.build()
    training, validation = load_train(dataset, held_out=0.25)
    assert [one.title for one in shown] == ["tiny width=8, blended/multiply test_alpha=0.4",
                                            "tiny width=8, blended/minus"]
    assert {one.cell.settings.seed for one in shown} == {3} and len(validation) == 5
    assert shown[0].scene.count == sorted(scene.count for scene in validation)[2]
    assert shown[0].scene.id in {scene.id for scene in validation} - {scene.id for scene in training}
    assert [one.tau for one in shown] == [2 * shown[0].scene.count, 1]


def test_the_triggered_image_is_stamped_as_test_images_are(shown):
    images = shown[0].images()
    torch.testing.assert_close(images["clean"][0] * 255, torch.tensor(shown[0].scene.image).permute(2, 0, 1).float())
    assert torch.equal(images["triggered"], shown[0].cell.tested.stamp(images["clean"]))
    assert not torch.equal(images["triggered"], shown[0].cell.attack.stamp(images["clean"]))


def test_another_image_is_shown_on_demand_and_one_that_is_not_there_is_refused_with_the_nearest(grid):
    _, validation = load_train(grid[0][0].data.build(), held_out=0.25)
    assert asked(grid, image=validation[-1].id)[0].scene.id == validation[-1].id
    with pytest.raises(UserError, match=rf"not one of the 5 validation images; did you mean {validation[-1].id} or"):
        asked(grid, image=f"{validation[-1].id}0")


def test_the_image_with_the_median_count_is_the_default(grid):
    scenes, _ = load_train(grid[0][0].data.build(), held_out=0.25)
    counts = [scene.count for scene in scenes]
    assert counts[index_of(scenes, None, "training")] == sorted(counts)[7]  # of 15


def test_the_test_split_is_not_read(grid, monkeypatch):
    monkeypatch.setattr("benchmark.training.evaluation.load_test", None)
    draw_maps(asked(grid, StageGraph(grid[1].store)))


def test_a_counter_that_is_not_there_is_named_with_the_command_that_makes_it(grid, tmp_path):
    with pytest.raises(UserError, match=f"train tiny blended/multiply.*: this victim is not in the store {tmp_path}.*{COMMAND}"):
        asked(grid, StageGraph(Store(tmp_path)))
    with pytest.raises(UserError, match="repair tiny blended/multiply.* fine_tune epochs=2.*: this repair is not in the store"):
        asked(grid, defense={"name": "fine_tune", "epochs": 2})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("settings, words", [
    ({"defense": "strip"}, "'strip' repairs no counter"),
    ({"defense": "none"}, "'none' repairs no counter"),
    ({"attack": None}, "no attack in this grid"),
    ({"attack": {"target": "add", "n": [*range(1, 10)]}}, "9 victims with 9 distinct names; expected at most 8"),
    ({"training": [{"epochs": 3, "precision": "fp32"}, {"epochs": 1, "precision": "fp32"}]}, "4 victims with 2 distinct names"),
])
def test_what_cannot_be_shown_is_refused(grid, settings, words):
    with pytest.raises(UserError, match=words):
        asked(grid, shown=settings.get("defense", "fine_tune"), **settings)


def test_without_validation_images_there_is_nothing_to_show(grid, monkeypatch):
    monkeypatch.setattr("benchmark.figures.before_after.require", lambda *_: None)
    with pytest.raises(UserError, match="hold_out = 0 leaves no validation image"):
        asked(grid, hold_out=0, training={"select": "last"})


def test_settings_of_a_defense_are_told_apart(grid, monkeypatch):
    monkeypatch.setattr("benchmark.figures.before_after.require", lambda *_: None)
    both = asked(grid, attack="minus", defense={"name": "fine_tune", "epochs": [1, 2]})
    assert [one.title for one in both] == [f"tiny blended/minus fine_tune epochs={epochs} seed 3" for epochs in (1, 2)]


def test_an_audit_shows_the_given_counter_and_what_was_made_of_it(grid, tmp_path):
    counter, weights = counter_of("squeeze", weights="scratch", width=8), tmp_path / "given.safetensors"
    write_tensors(weights, counter.state_dict(), {})
    audit = {"audit": True, "attack": "multiply", "defense": "blur",
             "model": {"name": "squeeze", "width": 8, "weights": str(weights)}}
    graph = StageGraph(Store(tmp_path / "store"))
    with pytest.raises(UserError, match="this given counter is not in the store"):
        asked(grid, graph, shown="blur", **audit)
    [cell, *_] = cells(REQUEST | {"data": {"name": "synthetic", **grid[0][0].data.given}} | audit)
    graph.store.get(graph.repaired(cell))
    [pair] = asked(grid, graph, shown="blur", **audit)
    [row] = rows(draw_maps([pair]).figure, 6)
    image = pair.images()["triggered"]
    with torch.no_grad():
        expected = [counter(image), counter(cell.defense.build().change(image))]
    for column, density in zip((3, 5), expected):
        np.testing.assert_allclose(heat(row[column]), density[0, 0], atol=1e-6)


# Density maps

def test_maps_are_what_the_stored_counters_make_of_both_images(grid, shown):
    graph = grid[1]
    for pair, row in zip(shown, rows(draw_maps(shown).figure, 6), strict=True):
        expected = []
        for stage in (graph.victim(pair.cell), graph.repaired(pair.cell)):
            with torch.no_grad():
                expected += [stored(graph, stage)(image)[0, 0].numpy() for image in pair.images().values()]
        for axes, density, told in zip(row[2:], expected, ("victim, clean", "victim, triggered", "fine_tune, clean",
                                                           "fine_tune, triggered")):
            np.testing.assert_allclose(heat(axes), density, atol=1e-6)
            assert axes.get_title().replace("\n", " ") == f"{told} {density.sum():.1f} (true {pair.scene.count})"
        assert heat(row[1]).sum() == pytest.approx(pair.scene.count, abs=1e-3)
        assert row[1].get_title() == f"truth: {pair.scene.count}\nτ = {pair.tau}"
        np.testing.assert_allclose(heat(row[0]), pair.images()["triggered"][0].permute(1, 2, 0))


def test_a_row_has_one_scale_from_0_to_its_largest_value(shown):
    for row in rows(draw_maps(shown).figure, 6):
        top = max(heat(axes).max() for axes in row[1:])
        assert [axes.images[-1].get_clim() for axes in row[1:]] == 5 * [pytest.approx((0, top))]


def test_blocks_that_reach_out_of_the_image_are_cut_off_with_it(shown):
    [axes, *_] = rows(draw_maps(shown).figure, 6)[0][1:]
    assert heat(axes).shape == (8, 12) and axes.images[-1].get_extent() == [0, 96, 64, 0]  # 8 x 8 pixels each
    assert (axes.get_xlim(), axes.get_ylim()) == ((0, 90), (60, 0))


# Grad-CAM

def counter_of(name, **settings):
    torch.manual_seed(0)
    counter = build("model", name, settings).eval()
    if name == "clip_ebc":
        counter.anchors[-1] = 5.0
    return counter


COUNTERS = [("tiny", {}), ("sfanet", {"weights": "scratch"}), ("dm_count", {"weights": "scratch"}),
            ("clip_ebc", {"weights": "scratch", "clip": "tiny"})]
IMAGES = torch.rand(2, 3, 72, 90, generator=torch.Generator().manual_seed(0))


def by_hand(counter, images):
    """Gradients averaged over places, times the features, summed over channels, and what is left of it above 0."""
    layer, seen = counter.last_convolution(images)[0], []

    def keep(_, inputs):
        seen.append(inputs[0].detach().requires_grad_())
        return (seen[0],)

    hook = layer.register_forward_pre_hook(keep)
    counter.count(images).sum().backward()
    hook.remove()
    gradients, features = seen[0].grad.numpy(), seen[0].detach().numpy()
    return np.maximum(np.einsum("bc,bchw->bhw", gradients.mean(axis=(2, 3)), features), 0)


@pytest.mark.parametrize("name, settings", COUNTERS)
def test_gradcam_is_the_weighted_sum_of_what_the_last_convolution_sees(name, settings):
    counter = counter_of(name, **settings)
    found, density = gradcam(counter, IMAGES), counter(IMAGES)
    assert found.shape == density.shape and found.max() > 0
    expected = by_hand(counter, IMAGES)[:, : found.shape[2], : found.shape[3]]
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-4, atol=1e-5 * expected.max())


@pytest.mark.parametrize("name, settings", [
    ("tiny", {}), ("mcnn", {}), ("squeeze", {"weights": "scratch"}), ("sfanet", {"weights": "scratch"})])
def test_gradcam_of_a_counter_that_ends_in_a_1_x_1_convolution_is_its_density_map_less_the_bias(name, settings):
    counter, images = counter_of(name, **settings).double(), IMAGES[..., :64, :80].double()  # no block is cut off
    nn.init.constant_(counter.output.bias, 0.1)
    with torch.no_grad():
        expected = (counter(images) - 0.1).relu().float()
    assert expected.max() > 0
    torch.testing.assert_close(gradcam(counter, images), expected, rtol=1e-4, atol=1e-5 * float(expected.max()))


def test_gradcam_with_classes_behind_the_last_convolution_is_another_map():
    counter = counter_of(*COUNTERS[-1][:1], **COUNTERS[-1][1])
    with torch.no_grad():
        density = counter(IMAGES)[0, 0].numpy()
    assert abs(agreement(gradcam(counter, IMAGES)[0, 0].numpy(), density)) < 0.999


def test_windows_are_left_out_of_gradcam_and_stay_with_the_counter():
    counter = counter_of("clip_ebc", weights="scratch", clip="tiny")
    whole = gradcam(counter, IMAGES)
    counter.window = 64
    assert torch.equal(gradcam(counter, IMAGES), whole) and counter.window == 64
    assert all(parameter.grad is None for parameter in counter.parameters())


def test_gradcam_of_a_counter_of_changed_images_is_that_of_the_changed_image():
    inner, defense = counter_of("tiny"), build("defense", "blur", {})
    outer = defense.wrap(inner.copy())
    torch.testing.assert_close(gradcam(outer, IMAGES), gradcam(inner, defense.change(IMAGES)))
    assert not torch.allclose(gradcam(outer, IMAGES), gradcam(inner, IMAGES))


def test_each_panel_is_gradcam_of_its_counter_and_image(grid, shown):
    graph = grid[1]
    for pair, row in zip(shown, rows(draw_gradcam(shown).figure, 4), strict=True):
        pairs = [(stored(graph, stage), image) for stage in (graph.victim(pair.cell), graph.repaired(pair.cell))
                 for image in pair.images().values()]
        for axes, (counter, image) in zip(row, pairs, strict=True):
            np.testing.assert_allclose(heat(axes), by_hand(counter, image)[0], rtol=1e-4, atol=1e-6)
            grey = axes.images[0].get_array()
            np.testing.assert_allclose(grey[..., 0], image[0].mean(dim=0), atol=1e-6)
            r = np.corrcoef(heat(axes).ravel(), counter(image).detach().numpy().ravel())[0, 1]
            assert axes.get_title().endswith(f"r {r:.2f}")
        assert len({heat(axes).sum() for axes in row}) == 4


def test_agreement_of_a_map_that_is_the_same_everywhere_is_no_number():
    assert np.isnan(agreement(np.zeros((2, 2)), np.arange(4.0).reshape(2, 2)))
    assert agreement(np.arange(4.0), 2 + 3 * np.arange(4.0)) == pytest.approx(1)


# Files

@pytest.mark.parametrize("draw", [draw_maps, draw_gradcam])
def test_no_text_is_cut_off(shown, draw):
    figure = draw(shown).figure
    figure.draw_without_rendering()
    box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert min(box.x0, box.y0) >= 0 and box.x1 <= width and box.y1 <= height


@pytest.mark.parametrize("draw", [draw_maps, draw_gradcam])
def test_files_are_png_and_pdf_again_the_same_and_change_no_global_state(draw, shown, tmp_path):
    before = dict(matplotlib.rcParams)
    for name in ("one", "two"):
        save(draw(shown), tmp_path / name)
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert files.keys() == {"one.png", "one.pdf", "one.txt", "two.png", "two.pdf", "two.txt"} and dict(matplotlib.rcParams) == before
    assert files["one.png"] == files["two.png"] and files["one.pdf"] == files["two.pdf"]
    caption = files["one.txt"].decode()
    assert f"One image ({shown[0].scene.id})" in caption and "seed " in caption
