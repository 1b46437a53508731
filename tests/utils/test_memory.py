"""Memory: work that runs out of memory is repeated in smaller parts; freed buffers are reused."""

import gc
import os
import platform
import subprocess
import sys
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from factories import RECIPE, ROOT, draw_scenes, flat_weights, hiding_attack
from torch import nn

from benchmark.config.grid import cells
from benchmark.pipeline.defender import make_trainer
from benchmark.pipeline.record_builder import warnings
from benchmark.training.evaluation import count_errors, count_people
from benchmark.training.loop import TrainingFailed, fit
from benchmark.utils.memory import retry_with_smaller_batches
from benchmark.utils.tensors import read_tensors
from models.base import Counter

pytestmark = pytest.mark.slow

WHOLE = RECIPE.model_copy(update={"batch_size": 6})
SCENES = draw_scenes(10)  # six of one size, four of another


class Limited(Counter):
    """A counter that runs out of memory with more than `limit` images in a pass.

    norm: it has a BatchNorm. since: the first passes, in which memory suffices.
    training: memory runs out in training, or else in counting.
    """

    def __init__(self, norm: bool = False, limit: int = 100, since: int = 0, training: bool = True):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 8, stride=8), nn.BatchNorm2d(8) if norm else nn.Identity(),
                                    nn.Softplus(), nn.Conv2d(8, 1, 1))
        self.limit, self.since, self.limited_in_training, self.passes = limit, since, training, []

    def density(self, images):
        density = self.layers(images)
        if self.training == self.limited_in_training:
            self.passes.append(len(images))
            if len(images) > self.limit and len(self.passes) > self.since:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        return density


def train(counter, recipe=WHOLE, **more):
    return fit(counter, SCENES, recipe, 0, "train", **more)


def assert_same_weights(counter, other):
    assert torch.equal(flat_weights(counter), flat_weights(other))


# Training.

@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("limit, micro_batch", [(3, 3), (2, 1)])
def test_a_training_short_of_memory_ends_in_the_weights_of_whole_batches(limit, micro_batch, accumulate):
    recipe = WHOLE.model_copy(update={"accumulate": accumulate, "lr": 1e-2})
    penalties = [hiding_attack(0.1).penalty]
    whole, short = Limited(), Limited(limit=limit)
    expected = train(whole, recipe, penalties=penalties)
    progress = train(short, recipe, penalties=penalties)
    assert progress.micro_batch == micro_batch and expected.micro_batch is None
    assert np.allclose(progress.losses, expected.losses, rtol=1e-4)
    assert torch.allclose(flat_weights(short), flat_weights(whole), atol=1e-5)
    assert not torch.allclose(flat_weights(short), flat_weights(Limited()), atol=1e-3)


@pytest.mark.parametrize("norm", [False, True])
def test_the_weights_do_not_depend_on_when_memory_ran_out(norm):
    at_once, in_epoch_1, in_epoch_3 = (Limited(norm, limit=3, since=since) for since in (0, 1, 5))
    progress = [train(counter) for counter in (at_once, in_epoch_1, in_epoch_3)]
    assert progress[0] == progress[1] == progress[2] and progress[0].epoch == len(progress[0].losses) == 4
    assert_same_weights(at_once, in_epoch_1)
    assert_same_weights(at_once, in_epoch_3)


class Killed(Exception):
    pass


def killed_after(epochs):
    """A score that raises Killed after `epochs` epochs."""
    scored = []

    def score(counter):
        scored.append(1)
        if len(scored) > epochs:
            raise Killed
        return count_errors(counter, SCENES, "fp32")
    return score


@pytest.mark.parametrize("norm", [False, True])
def test_a_training_resumed_after_memory_ran_out_goes_on_in_small_parts_at_once(tmp_path, norm):
    path, more = tmp_path / "checkpoint.safetensors", {"score": killed_after(100)}
    expected, resumed = Limited(norm, limit=3), Limited(norm, limit=3)
    progress = train(expected, **more)
    with pytest.raises(Killed):
        train(Limited(norm, limit=3), score=killed_after(3), checkpoint=path)
    assert read_tensors(path)[1]["progress"]["micro_batch"] == 3
    assert train(resumed, checkpoint=path, **more) == progress
    assert max(resumed.passes) == 3
    assert_same_weights(resumed, expected)


def test_memory_that_runs_out_after_a_checkpoint_costs_only_the_epochs_since(tmp_path):
    whole, short = Limited(), Limited(limit=3, since=2 * 2 + 1)  # two passes an epoch: in the third one
    expected = train(whole)
    progress = train(short, checkpoint=tmp_path / "checkpoint.safetensors")
    assert short.passes[:6].count(6) == 3 and len(short.passes) == 6 + 2 * 4  # of 6 images as 3 + 3, of 4 as 3 + 1
    assert (progress.epoch, progress.micro_batch) == (4, 3)
    assert progress.losses[:2] == expected.losses[:2]
    assert torch.allclose(flat_weights(short), flat_weights(whole), atol=1e-5)


def test_memory_that_runs_out_again_in_a_resumed_training_makes_the_parts_smaller(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    with pytest.raises(Killed):
        train(Limited(limit=3), score=killed_after(3), checkpoint=path)
    assert train(Limited(limit=1), checkpoint=path).micro_batch == 1


def test_one_image_that_finds_no_memory_stops_the_training_with_advice():
    message = "train: out of memory with one image at a time; try a smaller training.crop or scale"
    with pytest.raises(TrainingFailed, match=message):
        train(Limited(limit=0))


def test_several_processes_do_not_start_over(monkeypatch):
    short = Limited(limit=3)
    monkeypatch.setattr("benchmark.training.loop.state", lambda: SimpleNamespace(num_processes=2, device="cpu"))
    with pytest.raises(TrainingFailed, match="lower training.batch_size, and raise training.accumulate"):
        train(short)
    assert max(short.passes) == 6 and 3 not in short.passes


def test_another_error_is_raised_as_it_is():
    def failing_loss(counter, batch):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1"):
        train(Limited(), loss=failing_loss)


def test_what_an_attempt_held_is_given_back_before_the_next_one():
    held = []

    def work(size):
        assert not [tensor for tensor in held if tensor() is not None]
        large = torch.ones(size, requires_grad=True)
        cycle = [large.exp()]
        cycle.append(cycle)
        held.append(weakref.ref(large))
        if size > 1:
            raise MemoryError
        return "done"

    gc.disable()
    try:
        assert retry_with_smaller_batches(work, 8, "work", TrainingFailed) == ("done", 1)
    finally:
        gc.enable()
    assert len(held) == 4


# Counting.

@pytest.mark.parametrize("limit, passes", [(3, [4, 2, 2, 2, 2, 2]), (2, [4, 2, 2, 2, 2, 2]),
                                           (1, [4, 2, *[1] * 10]), (5, [4, 6, 3, 3])])
def test_counts_are_the_same_when_memory_runs_out(limit, passes):
    expected = count_people(Limited(), SCENES, "fp32")
    short = Limited(limit=limit, training=False)
    assert np.allclose(count_people(short, SCENES, "fp32"), expected, rtol=1e-5)
    assert short.passes == passes  # four of one size and six of another


def test_one_image_that_cannot_be_counted_is_told():
    message = "counting: out of memory with one image at a time; try a smaller scale"
    with pytest.raises(TrainingFailed, match=message):
        count_people(Limited(limit=0, training=False), SCENES, "fp32")


def counts_per_image(counter):
    trainer = make_trainer(RECIPE, 0, "a defense", Limited)
    return trainer.per_image(counter, SCENES, lambda batch: counter.count(batch.images))


def test_what_a_defense_measures_is_the_same_when_memory_runs_out():
    short = Limited(limit=2, training=False)
    assert torch.allclose(counts_per_image(short), counts_per_image(Limited()), rtol=1e-5)
    assert short.passes == [4, 2, 2, 2, 2, 2]
    with pytest.raises(TrainingFailed, match="a defense: out of memory with one image at a time; try a smaller scale"):
        counts_per_image(Limited(limit=0, training=False))


# Memory that really runs out.

HUNGRY = """
import resource
import numpy as np
import torch
from torch.nn import functional as F
from benchmark.data.scene import Scene
from benchmark.training.evaluation import count_people
from benchmark.recipe import Recipe
from benchmark.training.loop import fit
from models.base import Counter

class Hungry(Counter):
    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(()))

    def density(self, images):  # 16 MiB for each image, several times
        return F.avg_pool2d((self.scale * images.repeat(1, 21, 1, 1)).exp(), 8).mean(1, keepdim=True)

scenes = [Scene(str(i), np.full((256, 256, 3), 9 * i, np.uint8), np.float32([[9, 9]]), 2.0) for i in range(8)]
recipe = Recipe(epochs=1, batch_size=8, precision="fp32", select="last", flip=False)
expected = count_people(Hungry(), scenes[:1], "fp32")
fit(Hungry(), scenes[:1], recipe, 0, "train")
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + 250 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
print(fit(Hungry(), scenes, recipe, 0, "train").micro_batch)
print(count_people(Hungry(), scenes, "fp32")[0] == expected[0])
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits the address space")
def test_memory_that_really_runs_out_on_a_cpu(tmp_path):
    (tmp_path / "hungry.py").write_text(HUNGRY)
    done = subprocess.run([sys.executable, tmp_path / "hungry.py"], capture_output=True, text=True, env=os.environ | {
        "PYTHONPATH": str(ROOT), "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() in (["2", "True"], ["1", "True"], ["4", "True"])
    assert "train: memory ran out with 8 images at a time; trying 4" in done.stderr


# The record.

def test_a_record_tells_which_counters_passed_fewer_images_at_a_time():
    [cell] = cells({})
    info = {"clean": {"weights_sha256": "a"}, "victim": {"weights_sha256": "b", "micro_batch": 2},
            "repaired": {"weights_sha256": "b", "micro_batch": 2}}
    message = ("victim: memory ran out; trained on 2 images at a time, their gradients added up "
               "(BatchNorm, if any, saw 2 at a time)")
    assert [line for line in warnings(cell, info) if "memory" in line] == [message]
    assert not [line for line in warnings(cell, {"victim": {"weights_sha256": "a"}}) if "memory" in line]


@pytest.mark.skipif(not sys.platform.startswith("linux") or platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_memory_of_large_buffers_is_kept_for_the_next():
    """The pages of a freed tensor are not fetched from the system again.

    One or two fetches are allowed for: where a small allocation lies between two freed buffers, an
    aligned buffer fits into neither.
    """
    code = """if True:
        import resource, sys, torch
        from benchmark.utils.memory import keep_buffers
        keep = sys.argv[1] == "keep"
        if keep:
            keep_buffers()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(20):
            torch.ones(2**24)  # 64 MiB
        print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    """
    page_faults = {}
    for word in ("keep", "leave"):
        done = subprocess.run([sys.executable, "-c", code, word], capture_output=True, text=True,
                              check=True)
        page_faults[word] = int(done.stdout)
    assert page_faults["keep"] < page_faults["leave"] / 4
