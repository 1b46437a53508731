"""Two processes of one distributed run take the same branch, so that none waits for another forever."""

import os
import subprocess
import sys

import pytest
from factories import ROOT

pytestmark = pytest.mark.slow

HOOKED = """
from benchmark.registry import register
from defenses.base import Defense

@register
class Hooked(Defense):
    '''A plugin whose hook the store does not keep.'''

    def apply(self, victim, knowledge):
        repaired = victim.copy()
        repaired.register_forward_hook(lambda module, inputs, output: output / 2)
        return repaired
"""
GRID = """
data: {name: synthetic, train: 12, test: 4, height: 64, width: 96, people: 20}
model: {name: tiny, width: 8}
training: {epochs: 1, precision: fp32}
defense: [none, hooked]
"""
# A process that waits for another one forever ends with its traceback.
SCRIPT = """
import faulthandler, sys
faulthandler.dump_traceback_later(50, exit=True)
from benchmark.cli import main
sys.exit(main(sys.argv[1:]))
"""


def run_in_two_processes(folder, *flags):
    """The grid above, run on the CPU by two processes together."""
    (folder / "hooked.py").write_text(HOOKED)
    (folder / "grid.yaml").write_text(GRID)
    (folder / "script.py").write_text(SCRIPT)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "script.py", "run",
               "grid.yaml", "--plugin", "hooked.py", "--out", "out", "--store", "store", *flags]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=os.environ | {
        "PYTHONPATH": str(ROOT), "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"})


def test_a_counter_that_the_store_does_not_keep_is_refused_by_all_processes(tmp_path):
    done = run_in_two_processes(tmp_path)
    assert "Timeout" not in done.stderr, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("failed: ")]
    assert len(lines) == 2 and all("after it was stored and loaded" in line for line in lines), done.stderr
    assert [path.name.split("-")[2] for path in (tmp_path / "out/records").glob("*.json")] == ["none"]
