"""A grid on Ray ends in the records of one process, also when a machine is lost on the way."""

import subprocess
import sys

import kill_grid as kill
import pytest

from benchmark.cli import main

pytestmark = pytest.mark.slow

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'crowdbackdoorbench[cluster]'")

PLUGIN = '''
from benchmark.registry import register
from benchmark.training.loop import TrainingFailed
from defenses.base import Defense

@register
class Fails(Defense):
    """Always."""

    def apply(self, victim, knowledge):
        raise TrainingFailed("it always fails")
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with grid.yaml that was run by one process in `whole`."""
    folder = tmp_path_factory.mktemp("cluster")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        (folder / "grid.yaml").write_text(kill.GRID)
        kill.run(folder / "whole")
        yield folder


def on_ray(folder, *more):
    return subprocess.Popen([*kill.command(folder), "--executor", "ray", *more], stdout=subprocess.DEVNULL,
                            stderr=subprocess.PIPE, text=True, env=kill.environment())


def test_a_grid_on_ray_ends_in_the_same_records_and_a_failure_stays_that_of_its_cells(folder):
    (folder / "fails.py").write_text(PLUGIN)
    command = kill.command(folder / "ray")
    done = subprocess.run([*command, "--executor", "ray", "--plugin", f"{folder}/fails.py", "--defense",
                           "none,fails"], capture_output=True, text=True,
                          # a cluster that is gone, which Ray itself would try to join
                          env=kill.environment() | {"RAY_ADDRESS": "192.0.2.1:6379"})
    failures = [line for line in done.stderr.splitlines() if line.startswith("failed: ")]
    assert done.returncode == 1 and len(failures) == 3 and all("it always fails" in line for line in failures)
    process = on_ray(folder / "ray")
    error = process.communicate(timeout=300)[1]
    assert process.returncode == 0, error
    assert kill.results(folder / "ray") == kill.results(folder / "whole")


LOST = """
import subprocess, sys, time
from pathlib import Path

import ray
from ray.cluster_utils import Cluster

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
other = cluster.add_node(num_cpus=1)
process = subprocess.Popen([*sys.argv[2:], "--executor", "ray", "--address", cluster.address],
                           stdout=subprocess.DEVNULL)
counters, deadline = Path(sys.argv[1]) / "store/counters", time.monotonic() + 120
while process.poll() is None and not list(counters.glob("[!.]*")) and time.monotonic() < deadline:
    time.sleep(0.05)
alone = process.poll() is None
cluster.remove_node(other, allow_graceful=False)  # its raylet is killed, and what runs there with it
code = process.wait()
cluster.shutdown()
sys.exit(code if alone else 99)
"""


def test_a_grid_whose_machine_is_lost_on_the_way_ends_in_the_same_records(folder):
    lost = folder / "lost"
    done = subprocess.run([sys.executable, "-c", LOST, str(lost), *kill.command(lost)], capture_output=True, text=True,
                          env=kill.environment(), timeout=400)
    assert done.returncode == 0, done.stderr
    assert kill.results(lost) == kill.results(folder / "whole") and not kill.wrong(lost)


def test_what_ray_alone_is_asked_is_refused_elsewhere_and_a_missing_cluster_is_told(folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    assert main(["run", "grid.yaml", "--gpus", "1"]) == 2
    assert capsys.readouterr().err == "crowdbench: --gpus: expected only with --executor ray\n"
    assert main(["run", "grid.yaml", "--shard", "3/2"]) == 2
    assert "expected I/N with I from 1 to N" in capsys.readouterr().err
    process = on_ray(folder / "nowhere", "--address", "127.0.0.1:1")
    error = process.communicate(timeout=120)[1]
    assert process.returncode == 2 and "expected a running Ray cluster" in error.splitlines()[-1]
