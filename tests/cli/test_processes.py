"""The command as a process of its own: stopped, on a full disk, and with closed streams."""

import errno
import io
import os
import re
import resource
import signal
import time
from functools import partial
from pathlib import Path

import pytest
from cli_cases import STOPPED, failed_on_the_way, flags, results, started

from benchmark.cli import main

pytestmark = pytest.mark.usefixtures("desk")
ONE_CELL = ["run", "tiny.yaml", *flags("attack=none", "defense=none", "training.checkpoint_seconds=0")]


def appears(folder, pattern, process):
    """Wait until a file is there; fail when the process ends first or a minute has passed."""
    deadline = time.monotonic() + 60
    while not list(folder.rglob(pattern)):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_says_so_and_the_same_command_goes_on(capsys, monkeypatch, cache, number, code):
    longer = [*ONE_CELL, "--set", "training.epochs=80"]
    heard = partial(signal.signal, number, signal.SIG_DFL)  # whatever the tests themselves were started by ignores
    process = started(cache, *longer, preexec_fn=heard)
    appears(Path(), "checkpoint.safetensors", process)
    process.send_signal(number)
    _, error = process.communicate(timeout=60)
    assert (process.returncode, error.splitlines()[-1]) == (code, STOPPED)
    assert "Traceback" not in error and results() == []
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    assert main(longer) == 0
    first = re.search(r"train tiny clean: goes on after epoch (\d+) of 80", capsys.readouterr().err)
    assert int(first[1]) > 0 and len(results()) == 3  # a counter, its counts and the record


@pytest.mark.slow
def test_a_full_disk_is_told_and_leaves_nothing_half_written(monkeypatch, cache):
    process = started(cache, *ONE_CELL, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)))
    _, error = process.communicate(timeout=120)
    assert process.returncode == 2
    failed_on_the_way(error, "checkpoint.safetensors", "File too large")
    assert not list(Path("runs").rglob("*.safetensors*"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    assert main(ONE_CELL) == 0 and len(results()) == 3


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_results_that_cannot_be_printed_are_told(cache):
    with open("/dev/full", "w") as full:
        process = started(cache, "list", "models", stdout=full)
    line = process.communicate(timeout=60)[1]
    assert line.startswith("crowdbench: file system: No space left on device") and line.count("\n") == 1
    assert process.returncode == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_help_that_cannot_be_printed_is_told(cache, unbuffered):
    with open("/dev/full", "w") as full:
        process = started(cache, "--help", stdout=full, unbuffered=unbuffered)
    assert process.communicate(timeout=60)[1].startswith("crowdbench: file system: No space") and process.returncode == 2


@pytest.mark.parametrize("closed, arguments, code", [(1, ["list", "presets"], 0), (2, ["show", "nothing"], 2)])
def test_nothing_goes_to_the_other_stream_where_one_is_closed(cache, closed, arguments, code):
    process = started(cache, *arguments, preexec_fn=partial(os.close, closed))
    assert process.communicate(timeout=60) == ("", "") and process.returncode == code


def test_a_reader_that_leaves_is_no_error(capsys, monkeypatch):
    class Left(io.StringIO):
        def write(self, text):
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr("sys.stdout", Left())
    assert main(["list", "models"]) == 141
    assert capsys.readouterr().err == ""
