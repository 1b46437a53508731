"""Speed: the arithmetic, the report, and the stored file. How long anything took is not tested."""

import itertools
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmark.config.cell import Component
from benchmark.data.scene import Scene
from benchmark.data.scene_generator import draw_scene
from benchmark.profiling import probes, speed, stored_rates
from benchmark.profiling.stored_rates import known_rates
from benchmark.recipe import Recipe
from benchmark.registry import build
from benchmark.utils.device import resolve_precision
from benchmark.utils.errors import UserError

SIZE = (70, 100)  # no multiples of the stride
TINY = Component("model", "tiny", {})


@pytest.fixture(autouse=True)
def short(monkeypatch, tmp_path):
    """Each probe is run once, and the cache is empty."""
    monkeypatch.setattr(probes, "ENOUGH", 0.0)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


@pytest.fixture(scope="module")
def scene():
    image, points = draw_scene(SIZE, 40, np.random.default_rng(0))
    return Scene("scene", image, points, None)


def report(rates, machine="CPU of ours", threads=2):
    """A report that holds nothing but rates, {(model, what, precision): pixels per second}."""
    speeds = [speed.Speed(model, what, precision, 1, 100, 100 / rate, 1, 0.5, None)
              for (model, what, precision), rate in rates.items()]
    return speed.SpeedReport({"device_name": machine, "threads": threads}, SIZE, {}, speeds)


def test_probes_take_turns_until_each_had_its_time_and_the_median_counts(monkeypatch):
    clock, order = itertools.count(), []
    monkeypatch.setattr(probes, "time", SimpleNamespace(perf_counter=lambda: float(next(clock))))
    monkeypatch.setattr(probes, "ENOUGH", 2.5)  # of two probes: five readings of the clock

    def probe(name, seconds):
        left = iter(seconds)
        return lambda: order.append(name) or next(left)

    assert probes.medians([probe("a", [1, 9, 2, 3, 8]), probe("b", [5, 4, 70, 6, 60])]) == [3, 6]
    assert order == ["a", "b"] * 5


def test_a_probe_that_takes_long_is_run_once_after_its_warm_up():
    calls = []
    probe = probes.timed(lambda: calls.append(1))
    assert len(probes.medians([probe])) == 1 and len(calls) == 2


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


def test_counting_and_training_know_their_flops(scene):
    counter, recipe = build("model", "tiny", {}), Recipe(batch_size=3, accumulate=2, crop=64)
    counting = probes.CountingProbe(counter, scene, "fp32")
    assert counting.flops == sum(convolutions(counter, torch.rand(counting.images, 3, *SIZE)))
    training = probes.TrainingProbe(counter, recipe, scene, "fp32")
    assert training() > 0 and training.images == 6
    forward = convolutions(counter, torch.rand(6, 3, 64, 64))
    expected = 3 * sum(forward) - forward[0]  # the images have no gradient
    assert training.flops == pytest.approx(expected, rel=1e-3)  # the density maps' product is a little more


def test_training_for_its_time_leaves_the_weights_almost_as_they_were_and_shows_no_bar(scene, capsys):
    counter = build("model", "tiny", {})
    before = [parameter.detach().clone() for parameter in counter.parameters()]
    probes.TrainingProbe(counter, counter.recipe, scene, "fp32")()
    for old, new in zip(before, counter.parameters()):
        torch.testing.assert_close(new.detach(), old, rtol=0, atol=1e-9)
    assert capsys.readouterr().err == ""


def test_the_peak_leaves_the_settings_of_torch_as_they_were():
    kept = torch.get_float32_matmul_precision()
    assert probes.peak("fp32") > 0 and torch.get_float32_matmul_precision() == kept


@pytest.fixture
def measured(monkeypatch):
    monkeypatch.setattr(speed, "peak", {"fp32": 1e12, "bf16": 4e12}.get)
    return speed.measure([Component("model", "tiny", {"width": 16})], ["bf16", "fp32"], SIZE)


def test_a_report_holds_every_counter_in_every_precision(measured):
    assert measured.size == SIZE
    assert [(one.model, one.what, one.precision) for one in measured.speeds] == [
        ("tiny width=16", what, precision) for what in ("train", "count") for precision in ("bf16", "fp32")]
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
    assert len(rows) == 2 + 4 and measured.machine["device_name"] in text
    assert "images of 100x70" in text and "bf16 4, fp32 1" in text
    for words in ("tiny width=16", "images/s", "TFLOP/s", "of peak"):
        assert words in text


def test_a_report_is_json_with_all_that_is_printed(measured):
    found = json.loads(json.dumps(measured.to_dict(), allow_nan=False))
    assert found["speeds"][0]["ratio"] == measured.speeds[0].ratio
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
    ([TINY], None, (20, 100), "size 100x20: expected sides of 32 to 8192 pixels"),
    ([TINY], None, (64, 9000), "size 9000x64: expected sides of 32 to 8192 pixels")])
def test_a_wrong_request_is_told_before_anything_is_measured(models, precisions, size, words, monkeypatch):
    monkeypatch.setattr(speed, "draw_scene", None)
    with pytest.raises(UserError) as told:
        speed.measure(models, precisions, size)
    assert words in str(told.value) and "\n" not in str(told.value)


def test_a_counter_is_known_by_its_settings_but_not_by_its_weights(monkeypatch):
    monkeypatch.setattr(speed, "peak", lambda precision: 1e12)
    given = {"weights": "imagenet", "width": 16}  # measured from scratch: nothing is downloaded
    speed.write(speed.measure([Component("model", "squeeze", given)], ["fp32"], SIZE))
    assert set(known_rates()) == {("squeeze width=16", "fp32", what) for what in ("train", "count")}


def test_what_was_measured_is_known_afterwards_on_this_machine(monkeypatch):
    monkeypatch.setattr(stored_rates, "provenance", lambda: {"device_name": "CPU of ours", "threads": 2})
    assert known_rates() == {}
    path = speed.write(report({("tiny", "train", "fp32"): 5e6, ("tiny", "count", "fp32"): 2e7}))
    assert path.name == "speed.json" and path.parent.name == "crowdbench"
    assert known_rates() == pytest.approx({("tiny", "fp32", "train"): 5e6, ("tiny", "fp32", "count"): 2e7})


def test_newer_measurements_replace_those_of_the_same_key_and_others_stay(monkeypatch):
    monkeypatch.setattr(stored_rates, "provenance", lambda: {"device_name": "CPU of ours", "threads": 2})
    speed.write(report({("tiny", "train", "fp32"): 1, ("tiny", "count", "fp32"): 2, ("mcnn", "train", "fp32"): 3}))
    speed.write(report({("tiny", "train", "fp32"): 10, ("tiny", "train", "bf16"): 4}))
    speed.write(report({("tiny", "train", "fp32"): 77.0}, machine="another"))
    speed.write(report({("tiny", "train", "fp32"): 99.0}, threads=1))
    assert known_rates() == pytest.approx({
        ("tiny", "fp32", "train"): 10, ("tiny", "bf16", "train"): 4, ("tiny", "fp32", "count"): 2,
        ("mcnn", "fp32", "train"): 3})


@pytest.mark.parametrize("broken", ["", "{", "[]", '{"CPU of ours, 2 threads": 3}', "\udc80",
                                    '{"CPU of ours, 2 threads": {"tiny": {"fp32": {"train": 0}}}}',
                                    '{"CPU of ours, 2 threads": {"tiny": {"fp32": {"train": NaN}}}}',
                                    '{"CPU of ours, 2 threads": {"tiny": {"fp32": {"fly": 3}}}}'])
def test_a_broken_file_is_as_good_as_none_and_is_replaced(broken, monkeypatch):
    monkeypatch.setattr(stored_rates, "provenance", lambda: {"device_name": "CPU of ours", "threads": 2})
    path = speed.write(report({("tiny", "train", "fp32"): 1.0}))
    path.write_bytes(broken.encode(errors="surrogateescape"))
    assert known_rates() == {}
    speed.write(report({("tiny", "train", "fp32"): 6.0}))
    assert known_rates() == pytest.approx({("tiny", "fp32", "train"): 6})
