"""What a trigger does inside counters: their channels and features, with the clean counter as the control."""

import csv
import json
from dataclasses import replace

import matplotlib
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from benchmark.cli import main
from benchmark.config.grid import cells
from benchmark.data.splits import load_train
from benchmark.figures.before_after import attacked
from benchmark.figures.channels import Level, channel_levels, draw_channels, early_to_late
from benchmark.figures.features import draw_features, pooled_features, projection, separation
from benchmark.figures.inside import subjects
from benchmark.figures.style import save
from benchmark.pipeline.graph import StageGraph
from benchmark.pipeline.store import Store
from benchmark.registry import build
from benchmark.utils.errors import UserError
from benchmark.utils.tensors import read_tensors, write_tensors
from models.base import Counter

REQUEST = {
    "data": {"name": "synthetic", "train": 20, "test": 2, "height": 60, "width": 90, "people": 25},
    "model": {"name": "tiny", "width": 16},
    "attack": [None, {"target": "multiply", "test_alpha": 0.4}, "minus"], "defense": ["none", "blur"],
    "training": {"epochs": 2, "precision": "fp32"}, "hold_out": 0.25, "seed": [3, 0],
}
COMMAND = "crowdbench run mine"
DRAWN = [draw_channels, draw_features]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("inside")


@pytest.fixture(scope="module")
def graph(folder):
    """The stages of a small grid; the counters and repairs of its first seed are in the store."""
    graph = StageGraph(Store(folder / "store"))
    for cell in attacked(cells(request(folder))):
        for stage in (graph.clean(cell), graph.repaired(cell)):
            graph.store.get(stage)
    return graph


def request(folder, **settings):
    return REQUEST | {"data": REQUEST["data"] | {"root": str(folder)}} | settings


def asked(folder, graph, seen="none", least=1, **settings):
    return subjects(graph, cells(request(folder, **settings)), seen, COMMAND, least)


@pytest.fixture
def shown(folder, graph):
    return asked(folder, graph)


def stored(graph, stage):
    """A counter with the weights of a stage, built by hand."""
    counter = build("model", "tiny", {"width": 16})
    counter.load_state_dict(read_tensors(graph.store.path(stage) / "weights.safetensors")[0])
    return counter.eval()


def pairs_of(number=3):
    """Images that differ from their 'triggered' copies by noise."""
    torch.manual_seed(1)
    images = [torch.rand(1, 3, 60, 90) for _ in range(number)]
    return [{"clean": image, "triggered": (image + 0.1 * torch.randn_like(image)).clamp(0, 1)} for image in images]


@torch.no_grad()
def layers_by_hand(counter, images):
    """The outputs of tiny's BatchNorms behind the first one, and what its last convolution reads, step by step."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (counter.mean, counter.std))
    features = F.pad((images - mean) / std, (0, -images.shape[3] % 8, 0, -images.shape[2] % 8))
    outputs = []
    for block in counter.stem:
        outputs.append(block[1](block[0](features)))
        features = outputs[-1].relu()
    for block in counter.head:
        outputs.append(block[1](block[0](features)))
        features = features + outputs[-1].relu()
    return [output[0].double().numpy() for output in outputs[1:]], features[0].double().numpy()


def counter_of(name="tiny", **settings):
    """An untrained counter whose BatchNorms, if it has any, normalise in earnest."""
    torch.manual_seed(0)
    counter = build("model", name, settings).eval()
    for module in counter.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.normal_(module.weight)
    return counter


# Which counters and images are shown

def test_the_victim_stands_before_the_clean_counter_of_its_seed_and_a_repair_between_them(folder, graph, shown):
    assert [subject.title for subject in shown] == ["tiny width=16, blended/multiply test_alpha=0.4",
                                                    "tiny width=16, blended/minus"]
    repaired = asked(folder, graph, "blur")
    for subject, both in zip(shown, repaired):
        assert subject.cell.settings.seed == 3
        assert subject.stages() == {"victim": graph.victim(subject.cell), "clean counter": graph.clean(subject.cell)}
        found = dict(subject.counters())
        for name, stage in (("victim", graph.victim(subject.cell)), ("clean counter", graph.clean(subject.cell))):
            expected = stored(graph, stage).state_dict()
            assert all(torch.equal(tensor, expected[key]) for key, tensor in found[name].state_dict().items())
        assert not torch.equal(found["victim"].output.weight, found["clean counter"].output.weight)
        assert list(both.stages()) == ["victim", "blur", "clean counter"]


def test_the_images_are_all_validation_images_stamped_as_test_images_are(folder, shown):
    training, validation = load_train(shown[0].cell.data.build(), held_out=0.25)
    assert [scene.id for scene in shown[0].scenes] == [scene.id for scene in validation] and len(validation) == 5
    assert not {scene.id for scene in validation} & {scene.id for scene in training}
    for scene, pair in zip(validation, shown[0].images(), strict=True):
        torch.testing.assert_close(pair["clean"][0] * 255, torch.tensor(scene.image).permute(2, 0, 1).float())
        assert torch.equal(pair["triggered"], shown[0].cell.tested.stamp(pair["clean"]))
        assert not torch.equal(pair["triggered"], shown[0].cell.attack.stamp(pair["clean"]))


@pytest.mark.slow
@pytest.mark.parametrize("draw", DRAWN)
def test_the_test_split_is_not_read(folder, graph, monkeypatch, draw):
    monkeypatch.setattr("benchmark.training.evaluation.load_test", None)
    draw(asked(folder, StageGraph(graph.store), "blur"))


def test_images_that_do_not_carry_a_conditional_trigger_are_left_out(folder, graph, monkeypatch):
    monkeypatch.setattr("benchmark.figures.inside.require", lambda *_: None)
    attack = {"target": "multiply", "trigger": "if_crowded", "people": 25}
    [subject] = asked(folder, graph, attack=attack)
    counts = [scene.count for scene in load_train(subject.cell.data.build(), held_out=0.25)[1]]
    assert [scene.count for scene in subject.scenes] == [count for count in counts if count >= 25]
    assert 0 < len(subject.scenes) < len(counts)
    with pytest.raises(UserError, match="0 of the 5 validation images carry the trigger if_crowded; expected at least 1"):
        asked(folder, graph, attack=attack | {"people": 1000})


def test_a_counter_that_is_not_there_is_named_with_the_command_that_makes_it(folder, graph, tmp_path):
    with pytest.raises(UserError, match=f"train tiny blended/multiply.*: this victim is not in the store {tmp_path}.*{COMMAND}"):
        asked(folder, StageGraph(Store(tmp_path)))
    with pytest.raises(UserError, match="repair tiny blended/multiply.* jpeg seed 3: this repair is not in the store"):
        asked(folder, graph, "jpeg", defense="jpeg")
    [cell, _] = attacked(cells(request(folder, defense="none")))
    alone = StageGraph(Store(tmp_path / "alone"))
    alone.store.get(alone.victim(cell))
    with pytest.raises(UserError, match="train tiny clean seed 3: this clean counter is not in the store"):
        asked(folder, alone)


@pytest.mark.parametrize("settings, words", [
    ({"defense": "strip"}, "'strip' repairs no counter"),
    ({"attack": None}, "no attack in this grid"),
    ({"attack": {"target": "add", "n": [*range(1, 10)]}}, "9 victims with 9 distinct names; expected at most 8"),
    ({"hold_out": 0, "training": {"select": "last"}}, "hold_out = 0 leaves no validation image"),
    ({"hold_out": 0.1}, "2 of the 2 validation images carry the trigger blended; expected at least 3"),
])
def test_what_cannot_be_shown_is_refused(folder, graph, monkeypatch, settings, words):
    monkeypatch.setattr("benchmark.figures.inside.require", lambda *_: None)
    with pytest.raises(UserError, match=words):
        asked(folder, graph, settings.get("defense", "none"), least=3, **settings)


def test_an_audit_has_no_control(folder, tmp_path):
    weights = tmp_path / "given.safetensors"
    write_tensors(weights, counter_of("squeeze", weights="scratch", width=8).state_dict(), {})
    audit = {"audit": True, "attack": "multiply", "model": {"name": "squeeze", "width": 8, "weights": str(weights)}}
    own = StageGraph(Store(tmp_path / "store"))
    [cell] = attacked(cells(request(folder, defense="blur", **audit)))
    own.store.get(own.repaired(cell))
    [subject] = asked(folder, own, "blur", defense="blur", **audit)
    assert list(subject.stages()) == ["victim", "blur"]
    assert "an audit has no clean counter as a control" in draw_features([subject]).caption


# Channels

def test_the_trigger_activated_change_of_each_channel_is_that_of_its_map_by_hand():
    counter, pairs = counter_of(width=16), pairs_of()
    found = channel_levels(counter, pairs)
    changes = [[np.sqrt(((after - before) ** 2).mean(axis=(1, 2))) for before, after in
                zip(*(layers_by_hand(counter, pair[kind])[0] for kind in ("clean", "triggered")))] for pair in pairs]
    assert [(level.number, level.last) for level in found] == [(number, 6) for number in range(1, 7)]
    for number, level in enumerate(found):
        np.testing.assert_allclose(level.changes, np.mean([image[number] for image in changes], axis=0), rtol=1e-4)
        assert level.channels == [*range(len(level.changes))] and level.changes.min() > 0
    assert [level.convolutions[0] for level in found] == ["stem.1.0", "stem.2.0", *(f"head.{n}.0" for n in range(4))]


def test_the_bound_of_each_channel_is_numpys_norm_and_the_far_ones_are_marked_as_pruned():
    counter = counter_of(width=64)
    with torch.no_grad():
        counter.head[2][0].weight[5] *= 30
    for level in channel_levels(counter, pairs_of(1)):
        convolution, norm = counter.get_submodule(level.convolutions[0].removesuffix(".0"))[:2]
        scale = norm.weight.abs() / (norm.running_var + norm.eps).sqrt()
        expected = [np.linalg.norm((weights * factor).flatten(1).detach().double().numpy(), 2)
                    for weights, factor in zip(convolution.weight, scale)]
        np.testing.assert_allclose(level.bounds, expected, rtol=1e-5)
        far = (expected - np.mean(expected)) / np.std(expected, ddof=1) > 3
        assert level.pruned.tolist() == far.tolist()
        assert far[5] or level.convolutions[0] != "head.2.0"


@pytest.mark.parametrize("name, settings, branches", [("mcnn", {}, 3), ("squeeze", {"weights": "scratch", "width": 8}, 2)])
def test_a_level_holds_the_channels_of_all_its_branches(name, settings, branches):
    found = channel_levels(counter_of(name, **settings), pairs_of(1))
    assert max(len(set(level.convolutions)) for level in found) == branches
    names = [name for level in found for name in dict.fromkeys(level.convolutions)]
    assert len(names) == len(set(names))


def level_of(bounds, changes, convolutions=None):
    bounds, changes = np.array(bounds, float), np.array(changes, float)
    return Level(1, 1, convolutions or ["only"] * len(bounds), [*range(len(bounds))], bounds, changes, bounds > 1e9)


def test_rho_is_spearmans_within_each_convolution_and_leaves_pruned_channels_out():
    bounds, changes = np.random.default_rng(0).normal(size=(2, 20)) ** 2
    ranks = [np.argsort(np.argsort(values)) for values in (bounds, changes)]
    expected = 1 - 6 * ((ranks[0] - ranks[1]) ** 2).sum() / (20 * (20**2 - 1))
    assert level_of(bounds, changes).correlation == pytest.approx(expected)
    assert level_of([0, 0, *bounds], [0, 0, *changes]).correlation == pytest.approx(expected)
    opposed = level_of([1, 2, 3, 11, 12, 13], [3, 2, 1, 13, 12, 11], 3 * ["small"] + 3 * ["large"])
    assert opposed.correlation == pytest.approx(-1)  # over all six it would be positive
    mixed = level_of([1, 2, 3, 11, 12, 13], [3, 2, 1, 11, 12, 13], 3 * ["small"] + 3 * ["large"])
    assert mixed.correlation == pytest.approx(0)
    assert np.isnan(level_of([1, 2, 3], [4, 4, 4]).correlation) and np.isnan(level_of([0, 0], [0, 0]).correlation)


def test_concentration_is_the_share_of_the_tenth_that_moves_most():
    assert level_of(np.arange(20), np.ones(20)).concentration == pytest.approx(0.1)
    assert level_of(np.arange(20), [*18 * [1], 20, 30]).concentration == pytest.approx(50 / 68)
    assert np.isnan(level_of([1, 2], [0, 0]).concentration)


def test_a_trigger_that_changes_nothing_moves_no_channel():
    pairs = [{"clean": pair["clean"], "triggered": pair["clean"].clone()} for pair in pairs_of()]
    assert all(level.changes.max() == 0 and np.isnan(level.correlation) for level in channel_levels(counter_of(), pairs))


def test_a_defense_of_the_image_is_part_of_what_its_counter_sees(folder, graph):
    subject = asked(folder, graph, "blur")[0]
    found = {name: channel_levels(counter, subject.images()) for name, counter in subject.counters()}
    victim, defense = stored(graph, graph.victim(subject.cell)), subject.cell.defense.build()
    blurred = [{kind: defense.change(image) for kind, image in pair.items()} for pair in subject.images()]
    for level, expected in zip(found["blur"], channel_levels(victim, blurred), strict=True):
        np.testing.assert_allclose(level.changes, expected.changes, rtol=1e-4)
        np.testing.assert_allclose(level.bounds, expected.bounds)
    assert not np.allclose(found["blur"][0].changes, found["victim"][0].changes, rtol=0.01)


def test_the_panels_are_the_first_the_middle_and_the_last_level_of_each_counter(graph, shown, tmp_path):
    picture = draw_channels(shown)
    drawn = [axes for axes in picture.figure.axes if axes.get_title()]
    assert len(drawn) == 2 * 2 * 3
    for subject, panels in zip(shown, (drawn[:6], drawn[6:])):
        stages = (graph.victim(subject.cell), graph.clean(subject.cell))
        expected = [level for stage in stages
                    for level in np.array(channel_levels(stored(graph, stage), subject.images()))[[0, 2, 5]]]
        for axes, level in zip(panels, expected):
            points = np.concatenate([line.get_xydata() for line in axes.lines])
            order = np.argsort(level.pruned, kind="stable")  # those that are pruned are drawn last
            np.testing.assert_allclose(points, np.stack([level.bounds, level.changes], 1)[order], rtol=1e-4)
            assert axes.get_title() == f"level {level.number} of 6, ρ = {level.correlation:.2f}"
            low, high = axes.get_ylim()
            assert low < points[:, 1].min() and points[:, 1].max() < high
        told = f"{expected[0].correlation:.2f}, {expected[1].correlation:.2f} and {expected[2].correlation:.2f} (victim)"
        assert f"{subject.title}: ρ is {told}" in picture.caption
        assert f"{expected[5].concentration:.0%} (clean counter)" in picture.caption
        assert f"the mean TAC is {expected[2].changes.mean():.3g} (victim)" in picture.caption
    assert [axes.get_ylabel() for axes in drawn[::3]] == 2 * ["victim\nTAC", "clean counter\nTAC"]
    assert "5 validation images of synthetic that carry the trigger, seed 3" in picture.caption


def test_few_levels_are_each_shown_once():
    assert [early_to_late([*range(number)]) for number in (1, 2, 3, 16)] == [[0], [0, 1], [0, 1, 2], [0, 7, 15]]


class Narrow(Counter):
    """A counter whose only convolution behind the first one makes the density."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 9, stride=8, padding=4), nn.ReLU(), nn.Conv2d(8, 1, 3, padding=1))

    def density(self, images):
        return self.layers(images)


def test_a_counter_without_several_channels_behind_the_first_convolution_is_refused():
    Narrow.name = "narrow"
    with pytest.raises(UserError, match="model narrow: expected a convolution with several channels behind the first one"):
        channel_levels(Narrow(), pairs_of(1))


# Features

def test_features_are_what_the_last_convolution_reads_averaged_over_places():
    counter, pairs = counter_of(width=16), pairs_of()
    found = pooled_features(counter, pairs)
    expected = [[layers_by_hand(counter, pair[kind])[1][:, :8, :12].mean(axis=(1, 2)) for pair in pairs]
                for kind in ("clean", "triggered")]
    assert found.shape == (2, 3, 16)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def one_by_one(clean, triggered):
    """The AUROC with pairs left out, with a direction that is found anew for each pair."""
    wins = []
    for i in range(len(clean)):
        for j in range(len(clean)):
            if i != j:
                others = [k for k in range(len(clean)) if k not in (i, j)]
                direction = triggered[others].mean(axis=0) - clean[others].mean(axis=0)
                wins.append((np.sign(direction @ triggered[i] - direction @ clean[j]) + 1) / 2)
    return np.mean(wins)


@pytest.mark.parametrize("number, channels, shift", [(3, 2, 0.5), (8, 1, 0.3), (12, 40, 0.1), (12, 40, 1.0)])
def test_the_separation_leaves_each_pair_out(number, channels, shift):
    rng = np.random.default_rng(number)
    clean = 5 + rng.normal(size=(number, channels))
    triggered = clean + shift + 0.3 * rng.normal(size=(number, channels))
    assert separation(clean, triggered) == pytest.approx(one_by_one(clean, triggered))


def test_features_that_do_not_change_or_change_at_random_cannot_be_separated():
    rng = np.random.default_rng(0)
    clean = rng.normal(size=(10, 30))
    assert separation(clean, clean.copy()) == 0.5
    areas = [separation(clean, clean + rng.normal(size=clean.shape)) for _ in range(300)]
    assert np.mean(areas) == pytest.approx(0.5, abs=0.03)  # fitted and scored on the same images it would be 0.9
    assert separation(clean, clean + 5) == 1


def test_a_change_that_is_the_same_for_all_but_smaller_than_their_differences_hardly_separates():
    clean = np.random.default_rng(0).normal(size=(40, 30))
    assert 0.4 < separation(clean, clean + 0.01) < 0.6


def test_the_plane_is_that_of_the_largest_variance_of_both_sorts_together():
    features = np.random.default_rng(0).normal(size=(2, 9, 5)) * [4, 2, 1, 1, 1] + np.array([0, 3])[:, None, None]
    both = features.reshape(18, 5)
    values, vectors = np.linalg.eigh(np.cov(both.T))
    expected = ((both - both.mean(axis=0)) @ vectors[:, [4, 3]]).reshape(2, 9, 2)
    found = projection(features)
    np.testing.assert_allclose(np.abs(found.points), np.abs(expected))
    np.testing.assert_allclose(found.explained, values[[4, 3]] / values.sum())
    assert (found.points[1].mean(axis=0) > found.points[0].mean(axis=0)).all()
    assert found.separation == separation(*features)


def test_the_panels_show_both_points_of_each_image_with_the_auroc_of_each_counter(graph, shown):
    picture = draw_features(shown)
    drawn = [axes for axes in picture.figure.axes if axes.get_title()]
    for subject, panels in zip(shown, (drawn[:2], drawn[2:]), strict=True):
        stages = {"victim": graph.victim(subject.cell), "clean counter": graph.clean(subject.cell)}
        for axes, (name, stage) in zip(panels, stages.items()):
            expected = projection(pooled_features(stored(graph, stage), subject.images()))
            assert axes.get_title() == f"{name}: AUROC {expected.separation:.2f}"
            points = [line.get_xydata() for line in axes.lines if line.get_marker() != "None"]
            np.testing.assert_allclose(points, expected.points, atol=1e-5)
            joined = [line.get_xydata() for line in axes.lines if line.get_marker() == "None"]
            np.testing.assert_allclose(joined, expected.points.swapaxes(0, 1), atol=1e-5)
            assert f"{expected.separation:.2f} ({name})" in picture.caption
            assert axes.get_xlabel() == f"component 1 ({expected.explained[0]:.0%})"
    assert len(drawn) == 4


def test_a_counter_with_a_single_feature_is_drawn_on_a_line():
    features = np.random.default_rng(0).normal(size=(2, 4, 1))
    assert projection(features).points.shape == (2, 4, 1) and projection(features).explained == pytest.approx([1])


# Files and commands

@pytest.mark.slow
@pytest.mark.parametrize("draw", DRAWN)
@pytest.mark.parametrize("defense", ["none", "blur"])
def test_no_text_is_cut_off_or_covered(folder, graph, draw, defense):
    first, second = asked(folder, graph, defense)
    longest = replace(first, title=f"{first.title} with {'a setting and ' * 9}another one")
    figure = draw([longest, second]).figure
    figure.draw_without_rendering()
    box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert min(box.x0, box.y0) >= 0 and box.x1 <= width and box.y1 <= height
    top, *parts = figure.subfigs
    texts = [*top.legends, *(part._suptitle for part in parts), *(axes.title for axes in figure.axes)]
    assert len(parts) == 2 and len(texts) > 6
    boxes = [text.get_window_extent() for text in texts]
    assert [(one, other) for n, one in enumerate(boxes) for other in boxes[:n] if one.overlaps(other)] == []


@pytest.mark.slow
@pytest.mark.parametrize("draw, points", [(draw_channels, 2 * 2 * (8 + 5 * 16)), (draw_features, 2 * 2 * 2 * 5)])
def test_files_hold_the_numbers_and_are_again_the_same_and_change_no_global_state(draw, points, shown, tmp_path):
    before = dict(matplotlib.rcParams)
    for name in ("one", "two"):
        written = save(draw(shown), tmp_path / name)
        assert written == [tmp_path / f"{name}.{kind}" for kind in ("png", "pdf", "txt", "csv")]
    assert {path.name for path in tmp_path.iterdir()} == {f"{name}.{kind}" for name in ("one", "two")
                                                          for kind in ("png", "pdf", "txt", "csv")}
    for kind in ("png", "pdf", "txt", "csv"):
        assert (tmp_path / f"one.{kind}").read_bytes() == (tmp_path / f"two.{kind}").read_bytes()
    assert dict(matplotlib.rcParams) == before
    rows = list(csv.DictReader((tmp_path / "one.csv").open()))
    assert len(rows) == points
    assert {(row["attack"], row["counter"]) for row in rows} == {
        (subject.title, name) for subject in shown for name in ("victim", "clean counter")}


def test_the_table_of_channels_says_which_move_most(shown):
    table = draw_channels(shown).numbers
    [victim, _] = [channel_levels(counter, shown[1].images()) for _, counter in shown[1].counters()]
    own = table[(table["attack"] == shown[1].title) & (table["counter"] == "victim") & (table["level"] == 6)]
    most = own.sort_values("TAC").iloc[-1]
    assert most["channel"] == victim[-1].changes.argmax() and most["convolution"] == "head.3.0"
    assert most["rho"] == pytest.approx(victim[-1].correlation) and most["levels"] == 6


@pytest.mark.slow
@pytest.mark.parametrize("figure", ["channels", "features"])
def test_the_commands_draw_from_the_store_and_say_how_the_counters_are_made(capsys, folder, graph, tmp_path, monkeypatch, figure):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(json.dumps(request(folder)))  # JSON is YAML
    store = ["--store", str(graph.store.root)]
    for more, name in (([], figure), (["--defense", "blur"], f"{figure}-blur")):
        assert main(["figure", figure, "mine.yaml", "--attack", "minus", *more, *store]) == 0
        assert capsys.readouterr().out.split() == [f"{name}.{kind}" for kind in ("png", "pdf", "txt", "csv")]
        caption = " ".join((tmp_path / f"{name}.txt").read_text().split())
        assert caption.endswith(f"Grid: `crowdbench run mine.yaml --attack minus --store {graph.store.root}`.")
        assert ("after blur" in caption) == bool(more)


@pytest.mark.parametrize("arguments, words", [
    (["--defense", "fine_tuen"], "did you mean 'fine_tune'"),
    (["--attack", "multpily"], "did you mean 'multiply'"),
    (["--attack", "none"], "no attack in this grid"),
    (["--defense", "jpeg"], "run `crowdbench run mine.yaml --defense jpeg --store"),
])
def test_a_wrong_command_is_refused_in_one_line(capsys, folder, graph, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(json.dumps(request(folder)))
    assert main(["figure", "channels", "mine.yaml", *arguments, "--store", str(graph.store.root)]) == 2
    told = capsys.readouterr().err
    assert told.startswith("crowdbench: ") and told.count("\n") == 1 and words in told
    assert {path.name for path in tmp_path.iterdir()} == {"mine.yaml"}
