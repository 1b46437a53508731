"""Devices: every component makes its tensors where its inputs are, tested on a fake device."""

import math
from collections import Counter
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from fake_device import DEVICE, FROM, TO, elsewhere, launches, transfers
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from attacks.base import Attack
from attacks.parts.surrogate import Surrogate
from benchmark.data.augmentation import augment
from benchmark.data.batches import Batch
from benchmark.recipe import Recipe
from benchmark.registry import build, find, names, settings_of
from benchmark.testing import MODELS, RECIPE, attacked, run, scenes, trainer
from benchmark.training.evaluation import count_people
from benchmark.training.loop import fit

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True, scope="module")
def on_another_device():
    with elsewhere():
        yield


def test_tensors_of_two_devices_do_not_mix():
    on_device = torch.ones(2, device=DEVICE)
    assert (on_device + torch.tensor(1)).tolist() == (on_device.cpu() + 1).tolist() == [2, 2]
    with pytest.raises(RuntimeError, match=r"aten.add.Tensor: \[\(2,\)\] on the CPU"):
        on_device + torch.ones(2)
    with pytest.raises(RuntimeError, match="numpy"):
        on_device.numpy()


@pytest.mark.parametrize("name", names("defense"))
def test_a_defense_computes_where_the_counter_is(name):
    durations = ("epochs", "steps", "rounds")
    shortest = {key: 1 for key in find("defense", name).model_fields if key.endswith(durations)}
    repaired, _, scores = run(build("defense", name, shortest), "tiny")
    assert attacked().output.weight.device == DEVICE
    assert scores.isfinite().all() and np.isfinite(count_people(repaired, scenes("clean"), "fp32")).all()


def counter_of(name):
    scratch = {"weights": "scratch"} if "weights" in settings_of(find("model", name)).model_fields else {}
    return build("model", name, scratch | MODELS.get(name, {}))


@pytest.mark.parametrize("name", names("model"))
def test_a_counter_learns_and_counts_where_it_is(name):
    counter = counter_of(name)
    attack = Attack(build("trigger", "blended", {}), build("target", "multiply", {}), 0.5, latent=1)
    fit(counter, scenes("clean"), RECIPE, 0, "train", penalties=[attack.penalty])
    assert {weight.device for weight in counter.state_dict().values()} == {DEVICE}
    counter.window = 32
    assert np.isfinite(count_people(counter, scenes("clean"), "fp32", attack.stamp)).all()


@pytest.mark.parametrize("name", names("trigger"))
def test_a_trigger_is_drawn_where_the_images_are(name):
    attack, images = Attack(build("trigger", name, {}), build("target", "add", {}), 0.5), torch.rand(2, 3, 64, 96)
    heads = list(60 * torch.rand(2, 60, 2))
    stamped = attack.stamp(images.to(DEVICE), [points.to(DEVICE) for points in heads])
    assert stamped.device == DEVICE
    torch.testing.assert_close(stamped.cpu(), attack.stamp(images, heads))


@pytest.mark.parametrize("name", [name for name in names("trigger") if find("trigger", name).optimises])
def test_a_pattern_is_optimised_where_the_surrogate_is_and_stamped_where_the_images_are(name):
    trigger = build("trigger", name, {"steps": 1})
    surrogate = Surrogate(counter_of("tiny").requires_grad_(False).to(DEVICE)) if trigger.asks_counter else None
    pattern = trigger.optimised(surrogate, scenes("clean"), 0)
    assert pattern.device == torch.device("cpu") and pattern.isfinite().all()
    assert trigger.with_pattern(pattern).stamp(torch.rand(1, 3, 64, 96).to(DEVICE)).device == DEVICE


# What a GPU would wait for. The numbers are those of the code as it is: they may fall, and whoever raises one says why.

LAUNCHES = {  # of a step without its optimizer, and of a batch that is counted
    "bayesian": (181, 51), "can": (264, 91), "clip_ebc": (1136, 92), "clip_ebc_vit": (1144, 99), "csrnet": (142, 44),
    "csrnet_ebc": (1009, 46), "csrnet_zip": (223, 48), "dm_count": (1010, 51), "dm_count_ebc": (1021, 52), "mcnn": (133, 40),
    "p2pnet": (228, 67), "sfanet": (319, 111), "squeeze": (210, 78), "tiny": (129, 34)}
MATCHES_ON_THE_HOST = {"p2pnet"}  # scipy's Hungarian method: the costs come once a step, and the pairs go back
ANY = math.inf, math.inf  # of a counter that has no numbers yet


def test_waits_and_copies_that_no_line_of_code_names_are_found():
    values, mask = torch.arange(3.0, device=DEVICE), torch.ones(3, dtype=torch.bool).to(DEVICE)
    hidden = {
        "item": (lambda: values[0].item(), [FROM]), "if": (lambda: bool(values[0] > 1), [FROM]),
        "a mask": (lambda: values[mask], [FROM]), "places": (mask.nonzero, [FROM]),
        "places of the CPU": (lambda: values[torch.tensor([0, 2])], [TO]),
        "numbers": (lambda: torch.tensor([1, 2], device=DEVICE), [TO]),
        "all at once": (values.tolist, [FROM]), "a fill": (lambda: values.masked_fill(mask, 0), []),
        "a sum": (lambda: values.sum() * 2, [])}
    for name, (work, expected) in hidden.items():
        transfers.clear()
        work()
        assert transfers == expected, name


@contextmanager
def optimizer_left_out():
    """Let `launches` leave out the optimizer, which on a GPU updates all weights in a few launches, but not here."""
    def begin(*_):
        before.update(launches)

    def end(*_):
        launches.clear()
        launches.update(before)
        before.clear()

    before = Counter()
    hooks = [register_optimizer_step_pre_hook(begin), register_optimizer_step_post_hook(end)]
    yield
    for hook in hooks:
        hook.remove()


def of_one(work):
    """The transfers and the number of launches of a step or a batch: those of work(3) less those of work(2)."""
    counted = {}
    for number in (1, 2, 3):  # constants are copied once, with the first
        transfers.clear()
        launches.clear()
        work(number)
        counted[number] = Counter(transfers), launches.total()
    return counted[3][0] - counted[2][0], counted[3][1] - counted[2][1]


@pytest.mark.parametrize("name", names("model"))
def test_a_step_copies_one_thing_to_the_device_and_waits_for_nothing(name):
    def train(steps):
        with optimizer_left_out():
            fit(counter_of(name), scenes("clean")[:2] * steps, RECIPE.model_copy(update={"batch_size": 2}), 0, "train")

    copies, launched = of_one(train)
    assert copies == ({TO: 2, FROM: 1} if name in MATCHES_ON_THE_HOST else {TO: 1})
    assert launched <= LAUNCHES.get(name, ANY)[0]


@pytest.mark.parametrize("name", names("model"))
def test_an_evaluation_copies_one_thing_a_batch_and_waits_once(name):
    counter = counter_of(name).to(DEVICE)
    copies, launched = of_one(
        lambda batches: count_people(counter, scenes("clean")[:2] * batches, "fp32", batch_size=2))
    assert copies == {TO: 1, FROM: 1}
    assert launched <= LAUNCHES.get(name, ANY)[1]


def test_an_evaluation_sends_the_next_batch_before_it_waits_for_the_last_one():
    counter = counter_of("tiny").to(DEVICE)
    for stamp in (None, Attack(build("trigger", "blended", {}), build("target", "add", {}), 0.5).stamp):
        count_people(counter, scenes("clean")[:2], "fp32", stamp)  # copies constants
        transfers.clear()
        count_people(counter, scenes("clean")[:2] * 3, "fp32", stamp, batch_size=2)
        assert transfers == [TO, TO, FROM, TO, FROM, FROM]


def test_a_defender_measures_a_batch_while_the_next_one_is_sent():
    counter = counter_of("tiny").to(DEVICE)
    transfers.clear()
    trainer().per_image(counter, scenes("clean")[:2] * 12, lambda batch: batch.images.mean(dim=(1, 2, 3)))
    assert transfers == [TO, TO, FROM, TO, FROM, FROM]


@pytest.mark.parametrize("change", [{}, {"crop": 16, "zoom_min": 0.5, "zoom_max": 2.0},
                                    {"crop": 24, "jitter": 1.0, "gamma": 1.0, "blur": 1.0}])
def test_mirrored_resized_and_changed_views_go_to_the_device_in_one_copy(change):
    views = [augment(scene, Recipe(**change), np.random.default_rng(number))
             for number, scene in enumerate(scenes("clean")[:6])]
    assert len({view.mirrored for view in views}) == 2
    transfers.clear()
    images = Batch.of(views, DEVICE).images
    assert transfers == [TO]
    torch.testing.assert_close(images.cpu(), Batch.of(views, torch.device("cpu")).images)
