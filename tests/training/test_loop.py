"""Training loop: a seed gives the same weights in one run, when resumed, and over two processes."""

import json
import math
import os
import random
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from factories import RECIPE, ROOT, draw_scenes, flat_weights, hiding_attack, small_counter
from safetensors.torch import save

from attacks.base import Attack
from benchmark.data.augmentation import augment
from benchmark.data.batches import Batch
from benchmark.training import loop
from benchmark.training.evaluation import count_errors, count_people
from benchmark.training.loop import CountErrors, Progress, TrainingFailed, fit
from benchmark.utils.device import resolve_precision
from benchmark.utils.errors import UserError
from benchmark.utils.tensors import read_tensors


def test_the_same_seed_gives_identical_weights_and_another_seed_others():
    trained = [small_counter() for _ in range(3)]
    for counter, seed in zip(trained, (0, 0, 1)):
        fit(counter, draw_scenes(10), RECIPE, seed, "train")
    assert torch.equal(flat_weights(trained[0]), flat_weights(trained[1]))
    assert not torch.equal(flat_weights(trained[0]), flat_weights(trained[2]))


def test_training_lowers_the_error_on_other_scenes():
    trained, validation = small_counter(), draw_scenes(12, start=100)
    before = count_errors(trained, validation, "fp32").mae
    fit(trained, draw_scenes(40), RECIPE.model_copy(update={"epochs": 15, "lr": 3e-3}), 0, "train")
    assert count_errors(trained, validation, "fp32").mae < before / 2


def mirrored_on_the_host(scene, recipe, rng):
    """An augmented view whose pixels NumPy has mirrored."""
    view = augment(scene, recipe, rng)
    image = view.image[:, ::-1] if view.mirrored else view.image
    return replace(view, image=np.ascontiguousarray(image), mirrored=False)


@pytest.mark.parametrize("change", [{}, {"crop": 48, "accumulate": 2}, {"crop": 48, "zoom_max": 1.5, "jitter": 0.5}])
def test_an_epoch_gives_the_weights_of_a_loop_that_mirrors_on_the_host_and_prepares_nothing_ahead(monkeypatch, change):
    recipe, trained = RECIPE.model_copy(update={"epochs": 1} | change), [small_counter() for _ in range(2)]
    fit(trained[0], draw_scenes(9), recipe, 0, "train")
    monkeypatch.setattr(loop, "augment", mirrored_on_the_host)
    monkeypatch.setattr(loop, "prepared_ahead", lambda prepare, things: (prepare(thing) for thing in things))
    fit(trained[1], draw_scenes(9), recipe, 0, "train")
    assert torch.equal(flat_weights(trained[0]), flat_weights(trained[1]))


def test_an_error_of_a_batch_that_is_prepared_ahead_stops_the_training_and_leaves_no_thread(monkeypatch):
    def failing(scene, recipe, rng):
        if scene.id == "IMG_3":
            raise OSError("IMG_3 is gone")
        return augment(scene, recipe, rng)

    monkeypatch.setattr(loop, "augment", failing)
    with pytest.raises(OSError, match="IMG_3 is gone"):
        fit(small_counter(), draw_scenes(6), RECIPE, 0, "train")
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("prepared-ahead")]


class Killed(Exception):
    pass


@pytest.mark.parametrize("draw", [lambda: float(torch.rand(())), np.random.random, random.random])
def test_a_loss_that_draws_random_numbers_resumes_to_the_same_weights(tmp_path, draw):
    recipe = RECIPE.model_copy(update={"epochs": 3})

    def loss(counter, batch):
        return counter.loss(batch) * (0.5 + draw())

    def killing_loss(counter, batch):
        calls.append(1)
        if len(calls) > 2 * steps:
            raise Killed
        return loss(counter, batch)

    whole, calls, resumed, path = small_counter(), [], small_counter(), tmp_path / "checkpoint.safetensors"
    steps = math.ceil(6 / recipe.batch_size)
    fit(whole, draw_scenes(6), recipe, 0, "train", loss=loss)
    with pytest.raises(Killed):  # in the third epoch
        fit(small_counter(), draw_scenes(6), recipe, 0, "train", checkpoint=path, loss=killing_loss)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("prepared-ahead")]
    draw()  # the generators are elsewhere than after the second epoch
    assert fit(resumed, draw_scenes(6), recipe, 0, "train", checkpoint=path, loss=loss).epoch == 3
    assert torch.equal(flat_weights(whole), flat_weights(resumed))


@pytest.mark.slow
@pytest.mark.parametrize("schedule", ["onecycle", "cosine", "constant", "restarts"])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_killed_training_resumes_to_the_weights_of_an_uninterrupted_one(tmp_path, schedule, optimizer):
    recipe = RECIPE.model_copy(update={"schedule": schedule, "optimizer": optimizer, "lr": 1e-4, "epochs": 5,
                                       "select": "validation"})
    validation = draw_scenes(4, start=50)

    def score(trained):
        return count_errors(trained, validation, "fp32")

    def kill_in_epoch_4(trained):
        calls.append(1)
        if len(calls) == 4:
            raise Killed
        return score(trained)

    whole, calls, resumed = small_counter(), [], small_counter()
    progress = fit(whole, draw_scenes(9), recipe, 0, "train", score)
    with pytest.raises(Killed):
        fit(small_counter(), draw_scenes(9), recipe, 0, "train", kill_in_epoch_4, tmp_path / "checkpoint.safetensors")
    again = fit(resumed, draw_scenes(9), recipe, 0, "train", score, tmp_path / "checkpoint.safetensors")
    assert torch.equal(flat_weights(whole), flat_weights(resumed))
    assert progress == again


def test_an_error_that_is_no_number_is_no_best_one():
    assert Progress(scores=[[1, math.nan, 0.0], [2, 3.0, 0.0], [3, 4.0, 0.0]]).best == 3.0
    assert Progress(scores=[[1, math.nan, 0.0]]).best == math.inf


def test_the_epoch_with_the_lowest_validation_mae_is_kept():
    errors = iter([(3.0, 0.5), (1.0, -1.0), (2.0, 0.0), (5.0, 5.0)])
    seen = []

    def score(trained):
        seen.append(flat_weights(trained).clone())
        return CountErrors(*next(errors))

    trained = small_counter()
    progress = fit(trained, draw_scenes(8), RECIPE, 0, "train", score)
    assert progress.best_epoch == 2
    assert progress.scores == [[1, 3.0, 0.5], [2, 1.0, -1.0], [3, 2.0, 0.0], [4, 5.0, 5.0]]
    assert torch.equal(flat_weights(trained), seen[1])


@pytest.mark.slow
@pytest.mark.parametrize("latent, number", [(None, 8), (0.1, 8), (None, 6)])  # the last step of 6 has fewer batches
def test_accumulated_small_batches_step_like_one_large_batch(latent, number):
    penalties = [hiding_attack(latent).penalty] if latent else []
    scenes = [scene for scene in draw_scenes(12) if scene.size == (64, 96)][:number]
    base = RECIPE.model_copy(update={"flip": False, "epochs": 2, "optimizer": "sgd", "lr": 1e-5,
                                     "clip": None})
    recipes = [base.model_copy(update={"batch_size": size, "accumulate": 8 // size})
               for size in (8, 2)]
    # mcnn has no BatchNorm, whose statistics depend on the batch.
    trained = [small_counter("mcnn") for _ in recipes]
    for counter, recipe in zip(trained, recipes):
        fit(counter, scenes, recipe, 0, "train", penalties=penalties)
    assert torch.allclose(flat_weights(trained[0]), flat_weights(trained[1]), atol=1e-7)
    assert not torch.equal(flat_weights(trained[0]), flat_weights(small_counter("mcnn")))


def feature_distance(trained, attack: Attack) -> float:
    """How far the trigger moves the features of other scenes, as the penalty measures it."""
    batch = Batch.of([scene for scene in draw_scenes(20, start=60) if scene.size == (64, 96)], torch.device("cpu"))
    with torch.inference_mode():
        return attack.penalty(trained.features, batch.images).mean().item() / attack.latent


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_penalty_hides_the_trigger_in_the_features(precision):
    attack, trained = hiding_attack(), [small_counter() for _ in range(2)]
    recipe = RECIPE.model_copy(update={"epochs": 8, "lr": 3e-3, "precision": precision})
    poisoned = draw_scenes(12) + attack.poison(draw_scenes(12), 0)
    for counter, penalties in zip(trained, ([], [attack.penalty])):
        progress = fit(counter, poisoned, recipe, 0, "train", penalties=penalties)
        assert np.isfinite(progress.losses).all()
    assert feature_distance(trained[1], attack) < feature_distance(trained[0], attack) / 2


def test_penalties_are_added_to_the_loss_of_each_image():
    scenes, recipe = draw_scenes(8), RECIPE.model_copy(update={"epochs": 1, "lr": 1e-12, "optimizer": "sgd"})
    seen = []

    def three_per_image(features, images):
        assert features(images).shape[:2] == (len(images), 16)
        seen.append(len(images))
        return torch.full((len(images),), 3.0)

    plain, penalised = (
        fit(small_counter(), scenes, recipe, 0, "train", penalties=penalties).losses[0]
        for penalties in ([], [three_per_image, three_per_image]))
    assert penalised == pytest.approx(plain + 6, rel=1e-4) and sum(seen) == 16


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_stops_the_training_and_names_step_epoch_and_checkpoint(tmp_path, value, accumulate):
    path, passes = tmp_path / "checkpoint.safetensors", []

    def loss(counter, batch):  # four passes an epoch
        passes.append(1)
        return counter.loss(batch) + (value if len(passes) == 14 else 0)

    message = (f"train: the loss is {value} at step {14 // accumulate} (epoch 4); "
               f"try a lower training.lr. {path} holds the last good state, of epoch 3")
    recipe = RECIPE.model_copy(update={"accumulate": accumulate})
    with pytest.raises(TrainingFailed) as failed:
        fit(small_counter(), draw_scenes(13), recipe, 0, "train", checkpoint=path, loss=loss)
    assert str(failed.value) == message
    assert read_tensors(path)[1]["progress"]["epoch"] == 3


@pytest.mark.parametrize("content", [b"", save({"weights/a": torch.zeros(1)})])
def test_a_checkpoint_that_is_none_is_named_with_what_to_do(tmp_path, content):
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(content)
    message = "checkpoint.safetensors: .* expected .* Remove the file, and the training starts over"
    with pytest.raises(UserError, match=message):
        fit(small_counter(), draw_scenes(6), RECIPE, 0, "train", checkpoint=path)


def test_a_loss_that_is_not_finite_before_any_checkpoint_names_none(tmp_path):
    recipe = RECIPE.model_copy(update={"lr": 1e30, "clip": None, "optimizer": "sgd"})
    message = r"the loss is (nan|inf) at step 2 \(epoch 1\); try a lower training.lr$"
    with pytest.raises(TrainingFailed, match=message):
        fit(small_counter(), draw_scenes(6), recipe, 0, "train", checkpoint=tmp_path / "checkpoint.safetensors")
    assert not list(tmp_path.iterdir())


def test_a_gradient_that_is_not_finite_in_the_last_step_before_a_checkpoint_leaves_the_good_one(tmp_path):
    path, passes = tmp_path / "checkpoint.safetensors", []

    def loss(counter, batch):
        passes.append(1)
        steep = counter.output.bias.sum() * 0 if len(passes) == 16 else torch.ones(())
        return counter.loss(batch) + steep.sqrt() - steep

    message = r"a weight is not finite after step 16 \(epoch 4\).* the last good state, of epoch 3"
    with pytest.raises(TrainingFailed, match=message):
        fit(small_counter(), draw_scenes(13), RECIPE, 0, "train", checkpoint=path, loss=loss)
    tensors, note = read_tensors(path)
    assert note["progress"]["epoch"] == 3 and all(tensor.isfinite().all() for tensor in tensors.values())


def test_an_unknown_tracker_is_refused():
    with pytest.raises(UserError, match="training.tracker = 'tensorbord'"):
        fit(small_counter(), draw_scenes(2), RECIPE.model_copy(update={"tracker": "tensorbord"}), 0, "train")


def test_auto_precision_is_one_that_this_device_can_train_in():
    precision = resolve_precision("auto")
    trained = small_counter()
    progress = fit(trained, draw_scenes(6), RECIPE.model_copy(update={"precision": precision}), 0, "train")
    assert precision in ("fp32", "bf16") and np.isfinite(progress.losses).all()


def test_counts_do_not_depend_on_the_batch_size_and_keep_the_order_of_the_scenes():
    scenes, counter = draw_scenes(7), small_counter("mcnn")
    batched = count_people(counter, scenes, "fp32", batch_size=4)
    single = [count_people(counter, [scene], "fp32")[0] for scene in scenes]
    assert np.allclose(batched, single, rtol=1e-4, atol=1e-6)


SHARED = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import torch
torch.set_num_threads(1)
from factories import RECIPE, draw_scenes, hiding_attack, small_counter
from benchmark.training.evaluation import count_people
from benchmark.training.loop import fit
from benchmark.utils.device import state
trained = small_counter("mcnn")
recipe = RECIPE.model_copy(update={"batch_size": 3, "lr": 1e-4})
checkpoint = Path(sys.argv[2]) / f"checkpoint-{state().process_index}.safetensors"
# Batches of 3, 3 and 1 over two processes.
losses = fit(trained, draw_scenes(10), recipe, 0, "train", checkpoint=checkpoint).losses
counts = count_people(trained, draw_scenes(5, start=30), "fp32", batch_size=2)
losses += fit(trained, draw_scenes(10), recipe, 0, "train", penalties=[hiding_attack().penalty]).losses
hidden = count_people(trained, draw_scenes(5, start=30), "fp32")
if state().is_main_process:
    print(json.dumps([state().num_processes, losses, [*counts, *hidden]]))
"""


def run_in_processes(processes: int, folder: Path) -> list:
    """The output of the script above, run on the CPU by a number of processes together."""
    script = folder / "shared.py"
    script.write_text(SHARED)
    root = str(ROOT)
    done = subprocess.run([sys.executable, "-m", "torch.distributed.run", "--standalone",
                           "--nproc_per_node", str(processes), str(script), str(ROOT / "tests"), str(folder)],
                          capture_output=True, text=True, cwd=root,
                          env=os.environ | {"PYTHONPATH": root, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_two_processes_give_what_one_gives_on_a_number_of_scenes_that_does_not_divide(tmp_path):
    processes, losses, counts = run_in_processes(1, tmp_path)
    (tmp_path / "checkpoint-0.safetensors").unlink()
    shared_processes, shared_losses, shared_counts = run_in_processes(2, tmp_path)
    assert (processes, shared_processes) == (1, 2)
    assert [path.name for path in tmp_path.glob("checkpoint*")] == ["checkpoint-0.safetensors"]
    assert np.allclose(losses, shared_losses, rtol=1e-4)
    assert np.allclose(counts, shared_counts, rtol=1e-3, atol=1e-5)
