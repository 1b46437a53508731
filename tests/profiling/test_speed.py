"""Speed: both ways of each part do the same, the arithmetic, and what is kept. How long anything took is not tested."""

import itertools
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from benchmark.config.cell import Component
from benchmark.data.augmentation import augment
from benchmark.data.batches import Batch
from benchmark.data.loading import read_image
from benchmark.data.scene import Scene
from benchmark.data.scene_generator import draw_scene
from benchmark.profiling import probes, speed
from benchmark.recipe import Recipe
from benchmark.registry import build
from benchmark.utils.device import resolve_precision
from benchmark.utils.errors import UserError

SIZE = (70, 100)  # no multiples of the stride
TINY = Component("model", "tiny", {})


@pytest.fixture(autouse=True)
def short(monkeypatch, tmp_path):
    """Each way is taken once, and the cache is empty."""
    monkeypatch.setattr(probes, "ENOUGH", 0.0)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    """A scene, and the JPEG that it was read from."""
    path = tmp_path_factory.mktemp("photo") / "scene.jpg"
    image, points = draw_scene(SIZE, 40, np.random.default_rng(0))
    Image.fromarray(image).save(path, quality=95)
    return Scene("scene", read_image(path), points, None), path


@pytest.fixture(scope="module")
def both(photo):
    """What each part gives, in our way and in the other."""
    return {pair.what: (torch.as_tensor(pair.ours()).double(), torch.as_tensor(pair.other()).double())
            for pair in probes.pairs(*photo)}


def report(rates, machine="CPU of ours", threads=2):
    """A report that holds nothing but rates, {(model, what, precision): pixels per second}."""
    speeds = [speed.Speed(model, what, precision, 1, 100, 100 / rate, 1, 0.5, None, None)
              for (model, what, precision), rate in rates.items()]
    return speed.Report({"device_name": machine, "threads": threads}, SIZE, {}, [], speeds)


@pytest.mark.parametrize("widths", ["sigma 15", "geometry-adaptive"])
def test_both_density_maps_hold_every_head_and_look_alike(both, widths):
    ours, other = both[f"density map, 500 heads, {widths}"]
    assert ours.shape == other.shape == (9, 13)
    assert ours.sum().item() == pytest.approx(500, abs=0.01) and other.sum().item() == pytest.approx(500, abs=0.01)
    assert np.corrcoef(ours.flatten(), other.flatten())[0, 1] > 0.9


def test_both_ways_of_decoding_give_nearly_the_same_pixels(both):
    ours, other = both["decode a JPEG at scale 0.25"]
    assert ours.shape == other.shape == (18, 25, 3)
    assert (ours - other).abs().mean() < 3


def test_an_image_from_memory_is_the_decoded_one(both):
    ours, other = both["an image for a batch, from memory"]
    assert ours.shape == (1, 3, *SIZE) and ours.equal(other)


def test_both_ways_of_stamping_differ_by_one_level_at_most(both, photo):
    ours, other = both["stamp a batch of 8"]
    assert ours.shape == (8, 3, *SIZE) and (ours - other).abs().max() <= 1.001 / 255
    original = torch.tensor(photo[0].image).permute(2, 0, 1) / 255
    assert (ours[0] - original).abs().mean() > 2 / 255


def test_ways_take_turns_until_each_had_its_time_and_the_median_counts(monkeypatch):
    clock, order = itertools.count(), []
    monkeypatch.setattr(probes, "time", SimpleNamespace(perf_counter=lambda: float(next(clock))))
    monkeypatch.setattr(probes, "ENOUGH", 2.5)  # of two ways: five readings of the clock

    def way(name, seconds):
        left = iter(seconds)
        return lambda: order.append(name) or next(left)

    assert probes.medians([way("a", [1, 9, 2, 3, 8]), way("b", [5, 4, 70, 6, 60])]) == [3, 6]
    assert order == ["a", "b"] * 5


def test_a_way_that_takes_long_is_taken_once_after_its_warm_up():
    calls = []
    way = probes.timed(lambda: calls.append(1))
    assert len(probes.medians([way])) == 1 and len(calls) == 2


def convolutions(counter, images):
    """FLOPs of the convolutions of a forward pass: two for each weight and pixel of what comes out."""
    found = []
    hooks = [module.register_forward_hook(lambda module, _, out: found.append(
        2 * module.weight.numel() * out.shape[0] * out.shape[2] * out.shape[3]))
        for module in counter.modules() if isinstance(module, torch.nn.Conv2d)]
    with torch.no_grad():
        counter(images)
    for hook in hooks:
        hook.remove()
    return found


def test_counting_and_training_know_their_flops(photo):
    counter, recipe = build("model", "tiny", {}), Recipe(batch_size=3, accumulate=2, crop=64)
    counting = probes.Counting(counter, photo[0], "fp32")
    assert counting.flops == sum(convolutions(counter, torch.rand(counting.images, 3, *SIZE)))
    training = probes.Training(counter, recipe, photo[0], "fp32")
    assert training() > 0 and training.images == 6
    forward = convolutions(counter, torch.rand(6, 3, 64, 64))
    expected = 3 * sum(forward) - forward[0]  # the images have no gradient
    assert training.flops == pytest.approx(expected, rel=1e-3)  # the density maps' product is a little more


def test_training_for_its_time_leaves_the_weights_almost_as_they_were_and_shows_no_bar(photo, capsys):
    counter = build("model", "tiny", {})
    before = [parameter.detach().clone() for parameter in counter.parameters()]
    probes.Training(counter, counter.recipe, photo[0], "fp32")()
    for old, new in zip(before, counter.parameters()):
        torch.testing.assert_close(new.detach(), old, rtol=0, atol=1e-9)
    assert capsys.readouterr().err == ""


def test_the_plain_loop_takes_the_same_step(photo, monkeypatch):
    """The gradients of its first step are those of the engine's own, but for what the order of memory rounds."""
    counter, recipe = build("model", "tiny", {}), Recipe(batch_size=2, flip=False, precision="fp32")
    plain, engine = probes.PlainTraining(counter, recipe, *photo), counter.copy()
    monkeypatch.setattr(plain.optimizer, "zero_grad", lambda: None)
    assert plain() > 0
    views = [augment(photo[0], recipe, np.random.default_rng(0))] * 2
    engine.train().to(memory_format=torch.channels_last).loss(Batch.of(views, torch.device("cpu"))).mean().backward()
    for one, other in zip(plain.counter.parameters(), engine.parameters()):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-3, atol=1e-4)


def test_the_peak_leaves_the_settings_of_torch_as_they_were():
    kept = torch.get_float32_matmul_precision()
    assert probes.peak("fp32") > 0 and torch.get_float32_matmul_precision() == kept


@pytest.fixture
def measured(monkeypatch):
    monkeypatch.setattr(speed, "peak", {"fp32": 1e12, "bf16": 4e12}.get)
    return speed.measure([Component("model", "tiny", {"width": 16})], ["bf16", "fp32"], SIZE)


def test_a_report_holds_every_part_and_every_counter_in_every_precision(measured):
    assert len(measured.parts) == 5 and measured.size == SIZE
    assert [(one.model, one.what, one.precision) for one in measured.speeds] == [
        ("tiny width=16", what, precision) for what in ("train", "count") for precision in ("bf16", "fp32")]
    for part in measured.parts:
        assert part.ratio == part.other_seconds / part.seconds > 0
    slow = {one.what: one.seconds for one in measured.speeds if one.precision == "fp32"}
    for one in measured.speeds:
        assert one.images == 8 or one.what == "count"
        assert one.pixels == SIZE[0] * SIZE[1] and one.ratio == slow[one.what] / one.seconds
        assert one.images_per_s == pytest.approx(one.images / one.seconds)
        assert one.pixels_per_s == pytest.approx(one.images * one.pixels / one.seconds)
        assert one.tflop_per_s == pytest.approx(one.flops / one.seconds / 1e12)
        assert one.share == pytest.approx(one.tflop_per_s / {"fp32": 1, "bf16": 4}[one.precision])


def test_the_text_has_a_row_for_each_and_names_machine_size_and_peaks(measured):
    text = measured.text()
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + 5 + 2 + 4 and measured.machine["device_name"] in text
    assert "images of 100x70" in text and "bf16 4, fp32 1" in text
    for words in ("density map, 500 heads, sigma 15", "PIL's blend", "tiny width=16", "images/s", "TFLOP/s", "of peak"):
        assert words in text


def test_a_report_is_json_with_all_that_is_printed(measured):
    found = json.loads(json.dumps(measured.to_dict(), allow_nan=False))
    assert found["parts"][0]["ratio"] == measured.parts[0].ratio
    assert found["speeds"][0]["pixels_per_s"] == measured.speeds[0].pixels_per_s
    assert found["machine"]["packages"]["torch"] and found["peaks"] == {"bf16": 4e12, "fp32": 1e12}


def test_without_fp32_there_is_nothing_to_compare_with(monkeypatch):
    monkeypatch.setattr(speed, "peak", lambda precision: 1e12)
    found = speed.measure([TINY], ["bf16"], SIZE)
    assert {one.ratio for one in found.speeds} == {None} and "| / " in found.text()


def test_by_default_fp32_and_what_the_device_runs_natively_are_measured(monkeypatch):
    monkeypatch.setattr(speed, "peak", lambda precision: 1e12)
    assert list(speed.measure([], None, SIZE).peaks) == list(dict.fromkeys(["fp32", resolve_precision("auto")]))


@pytest.mark.parametrize("models, precisions, size, words", [
    ([Component("model", "csrnett", {})], None, SIZE, "did you mean 'csrnet'?"),
    ([Component("model", "tiny", {"wide": 3})], None, SIZE, "did you mean 'width'?"),
    ([TINY], ["bf61"], SIZE, "did you mean 'bf16'?"), ([TINY], ["fp16"], SIZE, "known: bf16, fp32"),
    ([TINY], None, (20, 100), "size 100x20: expected sides of at least 32 pixels")])
def test_a_wrong_request_is_told_before_anything_is_measured(models, precisions, size, words, monkeypatch):
    monkeypatch.setattr(speed, "pairs", None)
    with pytest.raises(UserError) as told:
        speed.measure(models, precisions, size)
    assert words in str(told.value) and "\n" not in str(told.value)


def test_a_counter_is_known_by_its_settings_but_not_by_its_weights(monkeypatch):
    monkeypatch.setattr(speed, "peak", lambda precision: 1e12)
    given = {"weights": "imagenet", "width": 16}  # measured from scratch: nothing is downloaded
    speed.write(speed.measure([Component("model", "squeeze", given)], ["fp32"], SIZE))
    assert set(speed.known()) == {("squeeze width=16", "fp32", what) for what in ("train", "count")}


def test_what_was_measured_is_known_afterwards_on_this_machine(monkeypatch):
    monkeypatch.setattr(speed, "provenance", lambda: {"device_name": "CPU of ours", "threads": 2})
    assert speed.known() == {}
    path = speed.write(report({("tiny", "train", "fp32"): 5e6, ("tiny", "count", "fp32"): 2e7}))
    assert path.name == "speed.json" and path.parent.name == "crowdbench"
    assert speed.known() == pytest.approx({("tiny", "fp32", "train"): 5e6, ("tiny", "fp32", "count"): 2e7})


def test_newer_measurements_replace_those_of_the_same_key_and_others_stay(monkeypatch):
    monkeypatch.setattr(speed, "provenance", lambda: {"device_name": "CPU of ours", "threads": 2})
    speed.write(report({("tiny", "train", "fp32"): 1, ("tiny", "count", "fp32"): 2, ("mcnn", "train", "fp32"): 3}))
    speed.write(report({("tiny", "train", "fp32"): 10, ("tiny", "train", "bf16"): 4}))
    speed.write(report({("tiny", "train", "fp32"): 77.0}, machine="another"))
    speed.write(report({("tiny", "train", "fp32"): 99.0}, threads=1))
    assert speed.known() == pytest.approx({
        ("tiny", "fp32", "train"): 10, ("tiny", "bf16", "train"): 4, ("tiny", "fp32", "count"): 2,
        ("mcnn", "fp32", "train"): 3})


@pytest.mark.parametrize("broken", ["", "{", "[]", '{"CPU of ours, 2 threads": 3}', "\udc80",
                                    '{"CPU of ours, 2 threads": {"tiny": {"fp32": {"train": 0}}}}',
                                    '{"CPU of ours, 2 threads": {"tiny": {"fp32": {"train": NaN}}}}',
                                    '{"CPU of ours, 2 threads": {"tiny": {"fp32": {"fly": 3}}}}'])
def test_a_broken_file_is_as_good_as_none_and_is_replaced(broken, monkeypatch):
    monkeypatch.setattr(speed, "provenance", lambda: {"device_name": "CPU of ours", "threads": 2})
    path = speed.write(report({("tiny", "train", "fp32"): 1.0}))
    path.write_bytes(broken.encode(errors="surrogateescape"))
    assert speed.known() == {}
    speed.write(report({("tiny", "train", "fp32"): 6.0}))
    assert speed.known() == pytest.approx({("tiny", "fp32", "train"): 6})
