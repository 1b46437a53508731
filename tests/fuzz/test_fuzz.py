"""Hostile input of each kind, drawn from seeds: every command ends in one clear line, and leaves the input as it was.

A few hundred inputs of each kind are tried with the suite. For hours of them:

    CROWD_FUZZ_INPUTS=20000 CROWD_FUZZ_SEED=1000 python -m pytest tests/fuzz

A failure names the seed of its input; CROWD_FUZZ_SEED=SEED CROWD_FUZZ_INPUTS=1 tries it again.
"""

import errno
import hashlib
import io
import json
import os
import shutil
import signal
import zipfile
from contextlib import redirect_stderr, redirect_stdout
from random import Random

import numpy as np
import pytest
import torch
from factories import run_of, submitted
from mutations import NAMES, bytes_of, json_of, text_of, value_of
from PIL import Image

from benchmark.cli import main
from benchmark.data.datasets import synthetic
from benchmark.registry import build

pytestmark = pytest.mark.slow

INPUTS = int(os.environ.get("CROWD_FUZZ_INPUTS", 0))  # of each kind; 0 takes the number of the test
FIRST = int(os.environ.get("CROWD_FUZZ_SEED", 0))
SECONDS = 10  # for one command on one input
LONGEST = 1000  # characters of a line on stderr

SETTINGS = """
data: {name: synthetic, train: 8, test: 4, height: 64, width: 96}
model: [tiny, {name: csrnet, weights: scratch}]
scale: 0.5
hold_out: 0.1
attack: [none, {trigger: blended, alpha: [0.1, 0.2], target: [add, multiply], poison_rate: 0.2}]
defense: [none, {name: fine_tune, epochs: 2}, {name: retrain, images: 4, extra: 0}]
training: {epochs: 2, crop: 0.5, optimizer: sgd, clip: 1.0}
seed: [0, 1]
"""


def seeds(number):
    return range(FIRST, FIRST + (INPUTS or number))


def tree_of(folder):
    """The files of a folder, with hashes of what they hold."""
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() and not path.is_symlink() else None
            for path in sorted(folder.rglob("*"))}


def tried(seed, *arguments, codes, folder):
    """Run one command in this process, and return its exit code.

    It must end in time with one of the exit codes and no traceback, tell of an exit code 2 in one line, and change
    nothing in `folder`.
    """
    before = tree_of(folder)
    # As of a terminal that knows ASCII only, and refuses what it cannot print.
    out, err = (io.TextIOWrapper(io.BytesIO(), "ascii", write_through=True) for _ in range(2))
    # Of the processor, since other work may slow it down; and ten times as many of waiting.
    old = [signal.signal(kind, _too_slow) for kind in (signal.SIGPROF, signal.SIGALRM)]
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.alarm(10 * SECONDS)
    try:
        with redirect_stdout(out), redirect_stderr(err):
            code = main([str(argument) for argument in arguments])
    except SystemExit as stop:
        code = stop.code
    except BaseException as error:
        raise AssertionError(f"seed {seed}: {arguments}: {type(error).__name__}: {error}"[:2000]) from error
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
        for kind, handler in zip((signal.SIGPROF, signal.SIGALRM), old):
            signal.signal(kind, handler)
    lines = err.buffer.getvalue().decode("ascii").splitlines()
    told = f"seed {seed}: {arguments}: exit code {code}: {lines}"[:3000]
    assert code in codes, told
    assert all(len(line) <= LONGEST and line.isprintable() for line in lines), told
    assert code != 2 or len(lines) == 1 and lines[0].startswith("crowdbench: "), told
    assert tree_of(folder) == before, told
    return code


class NoAnswer(BaseException):
    """The command takes longer than SECONDS of the processor, or waits ten times as long."""


def _too_slow(*_):
    raise NoAnswer


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "fuzz-cache"))


def test_settings(tmp_path, monkeypatch):
    # Settings may well ask for thousands of large scenes, and drawing them would take minutes.
    monkeypatch.setattr(synthetic, "draw_scene", _blank_scene)
    monkeypatch.setattr(synthetic.Synthetic, "_draw", _draw_if_small(synthetic.Synthetic._draw))
    path = tmp_path / "given" / "grid.yaml"
    path.parent.mkdir()
    build("dataset", "synthetic", {"train": 8, "test": 4, "height": 64, "width": 96}).folder()
    for seed in seeds(150):
        rng = Random(seed)
        text = text_of(SETTINGS, rng)
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        tried(seed, "run", path, "--dry-run", "--store", tmp_path / "store", "--out", tmp_path / "out",
              codes=(0, 2), folder=path.parent)
        assert not (tmp_path / "out").exists()


def _blank_scene(size, people, rng):
    return np.zeros((*size, 3), np.uint8), np.zeros((0, 2))


def _draw_if_small(draw):
    """Return the drawing, with a disk that is full as soon as the scenes have more than 10 million pixels."""
    def drawn(dataset, folder):
        if (dataset.train + dataset.test) * dataset.height * dataset.width > 10_000_000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))
        draw(dataset, folder)
    return drawn


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Records of a small frozen grid, as a run leaves them, and an entry made of them."""
    from benchmark.config import frozen_grids
    from benchmark.config.frozen_grids import FrozenGrid

    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "small.yaml").write_text("data: synthetic\nmodel: tiny\nattack: [none, add]\nseed: [0, 1]\n")
    grid = FrozenGrid("small-1", str(folder / "small.yaml"), {"train": "a" * 32, "test": "b" * 32})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frozen_grids, "frozen", lambda: [grid])
        run = run_of(grid, folder / "run")
        entry = submitted(run, folder / "entries")
        yield run, entry


def test_records(tmp_path, records):
    run, _ = records
    for seed in seeds(120):
        rng = Random(seed)
        folder = tmp_path / f"records{seed}"
        shutil.copytree(run, folder)
        path = rng.choice(sorted(folder.iterdir()))
        damage(path, rng)
        for command in (["leaderboard", folder], ["table", "defenses", folder]):
            tried(seed, *command, codes=(0, 1, 2), folder=folder)
        shutil.rmtree(folder)


def damage(path, rng):
    """Change a file of JSON: its values or, for one in three and where it was damaged before, its bytes."""
    try:
        value = json.loads(path.read_bytes())
    except ValueError:
        value = None
    if value is None or rng.random() < 1 / 3:
        path.write_bytes(bytes_of(path.read_bytes(), rng))
    else:
        path.write_text(json_of(value_of(value, rng)))


def test_entries(tmp_path, records):
    """A cell that does not fit its hash is refused; other changes end in an answer."""
    _, entry = records
    for seed in seeds(120):
        rng = Random(seed)
        root = tmp_path / f"entries{seed}"
        copied = root / entry.relative_to(entry.parents[2])
        shutil.copytree(entry, copied)
        path = rng.choice(sorted(path for path in copied.rglob("*") if path.is_file()))
        sound = path.read_bytes()
        damage(path, rng)
        if rng.random() < 0.5:  # a forger who knows the format makes the hashes follow
            seal(copied)
            codes = (0, 1, 2)
        elif path.parent.name == "cells" and path.read_bytes() != sound:
            codes = (1, 2)
        else:
            codes = (0, 1, 2)
        tried(seed, "validate", root, codes=codes, folder=root)
        tried(seed, "leaderboard", root, codes=(0, 1, 2), folder=root)
        shutil.rmtree(root)


def seal(entry):
    """Write the hashes of the cells as they are now into entry.json, where it can still be read."""
    try:
        facts = json.loads((entry / "entry.json").read_text())
        facts["cells"] = {path.name: hashlib.sha256(path.read_bytes()).hexdigest()
                          for path in (entry / "cells").iterdir()}
        (entry / "entry.json").write_text(json_of(facts))
    except (ValueError, TypeError):
        return


def test_data_folders(tmp_path):
    for seed in seeds(120):
        rng = Random(seed)
        folder = tmp_path / f"data{seed}"
        draw_folder(folder, rng)
        for _ in range(rng.randint(1, 3)):
            damage_folder(folder, rng)
        tried(seed, "data", "check", "folder", "--set", f"root={json.dumps(str(folder))}", codes=(0, 1, 2),
              folder=folder)
        shutil.rmtree(folder)


def draw_folder(folder, rng):
    """Six small images in the layout of the dataset 'folder'."""
    for split in ("train", "test"):
        (folder / split).mkdir(parents=True)
        points = {}
        for number in range(3):
            name = f"a{number}.png"
            Image.new("RGB", (96, 64), (rng.randrange(256),) * 3).save(folder / split / name)
            points[name] = [[rng.uniform(0, 95), rng.uniform(0, 63)] for _ in range(4)]
        (folder / split / "points.json").write_text(json.dumps(points))


def damage_folder(folder, rng):
    """Change one file of a data folder: its bytes, name, size, kind or annotations."""
    path = rng.choice(sorted(path for path in folder.rglob("*") if not path.is_dir()) or [folder / "x"])
    kind = rng.choice(["bytes", "rename", "copy", "size", "special", "points", "empty", "nest"])
    if kind == "bytes" and path.is_file():
        path.write_bytes(bytes_of(path.read_bytes(), rng))
    elif kind == "rename" and path.exists():
        path.rename(path.with_name(rng.choice(NAMES)))
    elif kind == "copy" and path.is_file():
        shutil.copy(path, path.with_name(rng.choice([name for name in NAMES if name != path.name])))
    elif kind == "size" and path.suffix == ".png" and path.is_file():
        mode = rng.choice(["RGB", "L", "1", "RGBA", "P", "I;16"])
        Image.new(mode, rng.choice([(1, 1), (7, 7), (1, 400), (400, 1), (300, 200)])).save(path, "PNG")
    elif kind == "special":
        path.unlink(missing_ok=True)
        rng.choice([os.mkfifo, os.mkdir, lambda at: os.symlink("/dev/zero", at), lambda at: os.symlink("nowhere", at),
                    lambda at: os.symlink(folder, at)])(path)
    elif kind == "points" and path.name == "points.json" and path.is_file():
        damage(path, rng)
    elif kind == "empty" and path.is_file():
        path.write_bytes(b"")
    elif kind == "nest":
        inner = folder.with_name(f"{folder.name}-inner")
        folder.rename(inner)
        folder.mkdir()
        inner.rename(folder / rng.choice(["data", "no", "2024", "a b"]))


def test_checkpoints(tmp_path):
    sound = build("model", "tiny", {}).state_dict()
    for seed in seeds(100):
        rng = Random(seed)
        folder = tmp_path / f"checkpoint{seed}"
        folder.mkdir()
        path = folder / rng.choice(["c.pth", "c.pt", "c.bin", "c.npz", "c.safetensors", "c.tar", "c"])
        write_checkpoint(path, sound, rng)
        out = tmp_path / "out.safetensors"
        tried(seed, "convert", path, out, "--model", "tiny", codes=(0, 2), folder=folder)
        out.unlink(missing_ok=True)
        assert [left.name for left in tmp_path.iterdir()] == [folder.name]
        shutil.rmtree(folder)


def write_checkpoint(path, sound, rng):
    """A checkpoint of a common form whose contents, and then often whose bytes, are changed."""
    tensors = {rng.choice(["", "", "module.", "model.", "_orig_mod."]) + key: tensor for key, tensor in sound.items()}
    if rng.random() < 0.5:
        key = rng.choice(list(tensors))
        tensors[key] = rng.choice([tensors[key].half(), tensors[key].reshape(-1)[:0], tensors[key].to(torch.complex64),
                                   tensors[key] * float("nan"), None, "x", [1], np.float64(1), {}, {1: 2},
                                   tensors[key].to_sparse(), torch.zeros(1).expand(2**40)])
    if path.suffix == ".npz":
        np.savez(path, **{key: np.asarray(value, dtype=None if torch.is_tensor(value) else object)
                          for key, value in tensors.items()
                          if not torch.is_tensor(value) or not value.is_sparse and value.numel() < 1e6})
    else:
        wrapped = rng.choice([tensors, {"state_dict": tensors}, {"model": tensors, "epoch": np.int64(3)},
                              {"net": {"model": tensors}}, [tensors], tensors | {"args": object}, {1: tensors}, "x"])
        torch.save(wrapped, path, _use_new_zipfile_serialization=rng.random() < 0.7)
    if rng.random() < 0.5:
        path.write_bytes(bytes_of(path.read_bytes(), rng))
    elif zipfile.is_zipfile(path) and rng.random() < 0.3:
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("../evil.py", "x")
