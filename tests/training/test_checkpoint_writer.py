"""Checkpoints: written beside the training, from a copy, and sound whenever the process is killed."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest
import torch
from factories import RECIPE, ROOT, draw_scenes, small_counter
from hard_times import small_disk

from benchmark.training import checkpoint
from benchmark.training.checkpoint import CheckpointWriter
from benchmark.training.loop import CountErrors, fit
from benchmark.utils import signals
from benchmark.utils.storage_errors import describe_error
from benchmark.utils.tensors import read_tensors, write_tensors

OFTEN = RECIPE.model_copy(update={"checkpoint_seconds": 1e-9})  # as often as the writing thread can


@pytest.fixture
def path(tmp_path):
    return tmp_path / "checkpoint.safetensors"


def test_a_training_goes_on_while_its_checkpoint_is_written_from_a_copy(path, monkeypatch):
    written, states, last_epoch = [], [], threading.Event()

    def slow_write(path, tensors, note):
        assert last_epoch.wait(60)
        written.append(note["progress"])
        write_tensors(path, tensors, note)

    def score(counter):
        states.append({name: tensor.clone() for name, tensor in counter.state_dict().items()})
        if len(states) == RECIPE.epochs:
            last_epoch.set()
        return CountErrors(1 / len(states), 0.0)

    monkeypatch.setattr(checkpoint, "write_tensors", slow_write)
    progress = fit(small_counter(), draw_scenes(6), OFTEN, 0, "train", score, path)
    assert progress.epoch == len(states) == 4 and len(written) == 1  # one at a time, and the end waits for it
    assert written[0] == {"epoch": 1, "losses": progress.losses[:1], "scores": [[1, 1.0, 0.0]], "best_epoch": 1,
                          "micro_batch": None}
    tensors, _ = read_tensors(path)
    for name, tensor in states[0].items():
        assert torch.equal(tensors[f"weights/{name}"], tensor) and torch.equal(tensors[f"best/{name}"], tensor)
    assert not all(torch.equal(states[0][name], states[3][name]) for name in states[0])
    assert {int(tensor) for name, tensor in tensors.items() if name.endswith("/step")} == {2}


def test_a_checkpoint_is_due_by_time_and_not_while_one_is_written(path, monkeypatch):
    clock, end = SimpleNamespace(now=1000.0), threading.Event()
    monkeypatch.setattr(checkpoint, "time", SimpleNamespace(monotonic=lambda: clock.now))
    monkeypatch.setattr(checkpoint, "write_tensors", lambda *_: end.wait(60))
    with CheckpointWriter(path, 120, 0) as writer:
        assert not writer.is_due()
        clock.now += 120
        assert writer.is_due()
        writer.write({}, {}, 1)
        clock.now += 500
        assert not writer.is_due() and writer.epoch == 0
        end.set()
        writer.wait()
        assert not writer.is_due() and writer.epoch == 1
        clock.now += 120
        assert writer.is_due()


def test_nothing_is_written_before_it_is_due(path):
    fit(small_counter(), draw_scenes(6), RECIPE.model_copy(update={"checkpoint_seconds": 120}), 0, "train",
        checkpoint=path)
    assert not list(path.parent.iterdir())


@pytest.mark.parametrize("epochs", [2, 4])  # the only write fails, or the first of more
def test_a_full_disk_ends_the_training_with_the_path_and_leaves_nothing(tmp_path, epochs):
    recipe = RECIPE.model_copy(update={"epochs": epochs})
    with small_disk(tmp_path / "disk", 64) as remount:
        path = tmp_path / "disk/checkpoint.safetensors"
        with pytest.raises(OSError) as failed:
            fit(small_counter(), draw_scenes(6), recipe, 0, "train", checkpoint=path)
        assert failed.value.errno == errno.ENOSPC and not list(path.parent.iterdir())
        assert describe_error(failed.value).startswith(f"{path}: No space left on device; free some space")
        remount("size=1M")
        assert fit(small_counter(), draw_scenes(6), recipe, 0, "train", checkpoint=path).epoch == epochs


def test_a_signal_stops_the_training_when_its_checkpoint_is_whole(path, monkeypatch):
    stopping, passes = threading.Event(), []

    def slow_write(path, tensors, note):
        assert stopping.wait(60)
        time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGTERM)  # once more, while the training waits for this thread
        write_tensors(path, tensors, note)

    def loss(counter, batch):
        passes.append(1)
        if len(passes) == 4:  # in the second epoch
            stopping.set()
            signal.raise_signal(signal.SIGTERM)
        return counter.loss(batch)

    monkeypatch.setattr(checkpoint, "write_tensors", slow_write)
    kept = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    try:
        signals.listen()
        with pytest.raises(KeyboardInterrupt) as stopped:
            fit(small_counter(), draw_scenes(6), OFTEN, 0, "train", checkpoint=path, loss=loss)
    finally:
        for number, handler in zip((signal.SIGINT, signal.SIGTERM), kept):
            signal.signal(number, handler)
    assert stopped.value.args == (signal.SIGTERM,) and len(passes) == 4
    assert read_tensors(path)[1]["progress"]["epoch"] == 1 and [*path.parent.iterdir()] == [path]


KILLS = """
import os, random, signal, sys, threading, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tqdm import tqdm
from factories import RECIPE, draw_scenes, small_counter
from hard_times import killed_at_each_step
from benchmark.training.evaluation import count_errors
from benchmark.training.loop import fit
from benchmark.utils import signals
from benchmark.utils.tensors import read_tensors, write_tensors
tqdm.set_lock(threading.RLock())  # forks would share tqdm's own lock, which a killed one does not release
folder = Path(sys.argv[2])
path, recipe = folder / "checkpoint.safetensors", RECIPE.model_copy(update={"epochs": 10})
validation = draw_scenes(4, start=50)

def score(counter):
    return count_errors(counter, validation, "fp32")

def train(checkpoint, end):
    counter = small_counter()
    fit(counter, draw_scenes(9), recipe, 0, "train", score, checkpoint)
    write_tensors(folder / end, counter.state_dict(), {})

def check():
    if path.exists():
        progress = read_tensors(path)[1]["progress"]
        assert 0 < progress["epoch"] == len(progress["losses"]) < recipe.epochs

def ends(checkpoint, end, number=None, seconds=0.0):
    child = os.fork()
    if child == 0:
        code = 1
        try:
            train(checkpoint, end)
            code = 0
        except KeyboardInterrupt as stop:
            code = 128 + stop.args[0]
        finally:
            os._exit(code)
    if number is not None:
        time.sleep(seconds)
        os.kill(child, number)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

train(None, "whole.safetensors")  # imports what torch needs at first, so that its forks need not
began = time.monotonic()
train(None, "whole.safetensors")
seconds = time.monotonic() - began
kills = killed_at_each_step(lambda: train(path, "steps.safetensors"), check)
assert kills > 5, kills
path.unlink()
signals.listen()
rng, codes = random.Random(0), []
while 0 not in codes:
    number = [signal.SIGKILL, signal.SIGTERM][len(codes) % 2]
    hidden = {*folder.glob(".*")}
    longer = 1 + len(codes) / 10  # so that the training comes to its end on a busy machine, too
    codes.append(ends(path, "random.safetensors", number, rng.uniform(0.1, 0.4) * seconds * longer))
    # A signal inside a call into C may become another error than KeyboardInterrupt, and another code.
    assert number == signal.SIGTERM or codes[-1] in (0, -9), codes
    assert codes[-1] != 143 or {*folder.glob(".*")} == hidden  # a write in progress was finished
    check()
assert len(codes) > 2, codes
print(kills, codes, seconds)
"""


@pytest.mark.slow
def test_a_training_killed_at_any_instant_resumes_to_the_same_weights(tmp_path):
    script = tmp_path / "kills.py"
    script.write_text(KILLS)
    done = subprocess.run([sys.executable, str(script), str(ROOT / "tests"), str(tmp_path)], capture_output=True,
                          text=True, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT), "ACCELERATE_USE_CPU": "true",
                                                                 "OMP_NUM_THREADS": "1"})
    print(done.stdout)
    assert done.returncode == 0, done.stderr
    whole, steps, at_random = ((tmp_path / f"{name}.safetensors").read_bytes() for name in ("whole", "steps", "random"))
    assert whole == steps == at_random
