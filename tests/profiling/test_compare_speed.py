"""Speed comparisons: both ways of each part give the same. How long anything took is not tested."""

import numpy as np
import pytest
import torch
from compare_speed import PlainTrainingProbe, comparisons, main, write_scene

from benchmark.data.augmentation import augment
from benchmark.data.batches import Batch
from benchmark.profiling import probes
from benchmark.recipe import Recipe
from benchmark.registry import build

SIZE = (70, 100)  # no multiples of the stride


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    """A scene, and the JPEG from which it was read."""
    path = tmp_path_factory.mktemp("photo") / "scene.jpg"
    return write_scene(SIZE, path), path


@pytest.fixture(scope="module")
def results(photo):
    """The results of each part, in our way and in the other."""
    return {comparison.part: (torch.as_tensor(comparison.ours()).double(),
                              torch.as_tensor(comparison.other()).double())
            for comparison in comparisons(*photo)}


@pytest.mark.parametrize("widths", ["sigma 15", "geometry-adaptive"])
def test_both_density_maps_hold_every_head_and_look_alike(results, widths):
    ours, other = results[f"density map, 500 heads, {widths}"]
    assert ours.shape == other.shape == (9, 13)
    assert ours.sum().item() == pytest.approx(500, abs=0.01)
    assert other.sum().item() == pytest.approx(500, abs=0.01)
    assert np.corrcoef(ours.flatten(), other.flatten())[0, 1] > 0.9


def test_both_ways_of_decoding_give_nearly_the_same_pixels(results):
    ours, other = results["decode a JPEG at scale 0.25"]
    assert ours.shape == other.shape == (18, 25, 3)
    assert (ours - other).abs().mean() < 3


def test_an_image_from_memory_is_the_decoded_one(results):
    ours, other = results["an image for a batch, from memory"]
    assert ours.shape == (1, 3, *SIZE) and ours.equal(other)


def test_both_ways_of_stamping_differ_by_one_level_at_most(results, photo):
    ours, other = results["stamp a batch of 8"]
    assert ours.shape == (8, 3, *SIZE) and (ours - other).abs().max() <= 1.001 / 255
    original = torch.tensor(photo[0].image).permute(2, 0, 1) / 255
    assert (ours[0] - original).abs().mean() > 2 / 255


def test_the_plain_loop_takes_the_same_step(photo, monkeypatch):
    """The gradients of its first step are those of the project's own loop, up to rounding."""
    counter = build("model", "tiny", {})
    recipe = Recipe(batch_size=2, flip=False, precision="fp32")
    plain, own = PlainTrainingProbe(counter, recipe, *photo), counter.copy()
    monkeypatch.setattr(plain.optimizer, "zero_grad", lambda: None)
    assert plain() > 0
    views = [augment(photo[0], recipe, np.random.default_rng(0))] * 2
    own.train().to(memory_format=torch.channels_last)
    own.loss(Batch.of(views, torch.device("cpu"))).mean().backward()
    for parameter, expected in zip(plain.counter.parameters(), own.parameters()):
        torch.testing.assert_close(parameter.grad, expected.grad, rtol=1e-2, atol=1e-3)


def test_the_script_prints_a_row_for_each_part_and_each_counter(capsys, monkeypatch):
    monkeypatch.setattr(probes, "ENOUGH", 0.0)
    main(["--model", "tiny", "--size", "100x70"])
    printed = capsys.readouterr().out
    rows = [line for line in printed.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + 5 + 2 + 1 and printed.count("images of 100x70") == 2
    for words in ("density map, 500 heads, sigma 15", "PIL's blend", "tiny", "a plain loop takes"):
        assert words in printed
