"""A repaired counter that would lose something in the store is refused, by the contract test and by a run."""

import pytest
import torch
from factories import small_counter
from torch import nn

from benchmark.cli import main
from benchmark.pipeline.storage_check import check_storable
from benchmark.registry import _plugins, load_plugin
from benchmark.testing import check_defense
from models.base import Counter

HEAD = """
import torch
from torch import nn
from benchmark.registry import register
from defenses.base import Defense
from models.base import Counter

class Halved(Counter):
    stride = 8
    def __init__(self, counter):
        super().__init__()
        self.counter = counter
    def density(self, images):
        return self.counter.density(images) / 2

@register
class Plugin(Defense):
    '''A plugin.'''
"""
LOST = {
    "a_hook": """
    def apply(self, victim, knowledge):
        repaired = victim.copy()
        repaired.register_forward_hook(lambda module, inputs, output: output / 2)
        return repaired
""",
    "an_attribute": """
    def apply(self, victim, knowledge):
        repaired = victim.copy()
        density = repaired.density
        repaired.density = lambda images: density(images) / 2
        return repaired
""",
    "a_wrapper": """
    def apply(self, victim, knowledge):
        return Halved(victim.copy())
""",
    "random_counts": """
    def apply(self, victim, knowledge):
        repaired = victim.copy()
        density = repaired.density
        repaired.density = lambda images: density(images) * torch.rand(())
        return repaired
"""}
KEPT = """
    def apply(self, victim, knowledge):
        return self.wrap(victim.copy())
    def wrap(self, counter):
        return Halved(counter)
"""
WORDS = {"a_hook": "after it was stored and loaded", "an_attribute": "after it was stored and loaded",
         "a_wrapper": "its weights cannot be loaded again", "random_counts": "draws no random numbers"}


@pytest.fixture
def plugin(tmp_path):
    """A function that writes a defense and loads it as a plugin; returns its file."""
    def write(name, text):
        path = tmp_path / f"{name}.py"
        path.write_text(HEAD + text)
        load_plugin(path)
        return path

    before = dict(_plugins)
    yield write
    _plugins.clear()
    _plugins.update(before)


@pytest.mark.parametrize("name", LOST)
def test_the_contract_test_refuses_a_counter_that_the_store_does_not_keep(plugin, name):
    plugin(name, LOST[name])
    with pytest.raises(AssertionError, match=WORDS[name]):
        check_defense(name)


def test_a_counter_that_is_put_together_by_wrap_keeps_the_contract(plugin):
    plugin("kept", KEPT)
    assert isinstance(check_defense("kept"), Counter)


@pytest.mark.parametrize("name", LOST)
def test_a_run_refuses_it_in_one_line_and_writes_no_record_of_it(tmp_path, capsys, name):
    path = tmp_path / f"{name}.py"
    path.write_text(HEAD + LOST[name])
    (tmp_path / "grid.yaml").write_text("data: {name: synthetic, train: 12, test: 4, height: 64, width: 96, people: 20}\n"
                                        "model: {name: tiny, width: 8}\ntraining: {epochs: 1}\n"
                                        f"defense: [none, {name}]\n")
    before = dict(_plugins)
    code = main(["run", f"{tmp_path}/grid.yaml", "--plugin", str(path), "--out", f"{tmp_path}/out",
                 "--store", f"{tmp_path}/store"])
    _plugins.clear()
    _plugins.update(before)
    [failure] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("failed: ")]
    assert code == 1 and WORDS[name] in failure and f"defense {name}" in failure and len(failure) < 700
    assert [record.name.split("-")[2] for record in (tmp_path / "out/records").glob("*.json")] == ["none"]


def test_equal_counters_differ_in_nothing_and_a_changed_weight_is_told():
    counter, changed = small_counter(), small_counter()
    assert check_storable(counter, small_counter) is None
    with torch.no_grad():
        changed.output.bias += 1
    assert "expected everything that changes the counts in the state dict" in check_storable(counter, lambda: changed)


def test_the_check_leaves_the_mode_of_the_counter_alone():
    counter = small_counter().train()
    assert check_storable(counter, small_counter) is None and counter.training
    assert isinstance(counter, nn.Module)
