"""Devices: every component makes its tensors where its inputs are, tested on a fake device."""

import numpy as np
import pytest
import torch
from fake_device import DEVICE, elsewhere, transfers

from attacks.base import Attack
from benchmark.registry import build, find, names, settings_of
from benchmark.testing import MODELS, RECIPE, attacked, run, scenes
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


# Transfers, for which a program waits. The numbers may fall; whoever raises one says why.

@pytest.mark.parametrize("name", names("model"))
def test_a_step_copies_the_images_and_their_heads_to_the_device_and_waits_for_nothing(name):
    def of_steps(number):
        """The transfers of a training of one epoch with some steps."""
        transfers.clear()
        fit(counter_of(name), scenes("clean")[:2] * number, RECIPE.model_copy(update={"epochs": 1, "batch_size": 2}), 0, "train")
        return transfers.copy()

    of_steps(1)  # constants are copied once
    assert of_steps(5) - of_steps(2) == {"to the device": 3 * 2}


def test_an_evaluation_copies_two_things_a_batch_and_waits_once():
    counter = counter_of("tiny").to(DEVICE)

    def of_batches(number):
        transfers.clear()
        count_people(counter, scenes("clean")[:2] * number, "fp32", batch_size=2)
        return transfers.copy()

    of_batches(1)
    assert of_batches(5) - of_batches(2) == {"to the device": 3 * 2, "from the device": 3}
