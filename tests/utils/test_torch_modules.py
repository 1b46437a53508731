"""Torch modules: a watcher sees each call, and neither it nor the mode outlives its context, not even after an error."""

import pytest
import torch
from torch import nn

from benchmark.utils.torch_modules import in_evaluation_mode, watched


@pytest.fixture
def layers():
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU(inplace=True))


def hooks(module):
    return [hook for part in module.modules() for hook in (*part._forward_hooks, *part._forward_pre_hooks)]


def test_a_watcher_is_told_of_each_call_by_name_with_what_goes_in_and_out(layers):
    seen = []
    images = torch.rand(2, 3, 5, 6)
    watcher = lambda name, arguments, output: seen.append((name, *arguments, output.clone()))  # noqa: E731
    with watched({"a": layers[0], "b": layers[1]}, watcher):
        layers(images)
        layers(images)
    layers(images)
    assert [name for name, *_ in seen] == ["a", "b", "a", "b"]
    assert torch.equal(seen[0][1], images) and torch.equal(seen[0][2], layers[0](images))
    assert seen[1][1].min() < 0 and seen[1][2].min() < 0  # it is called before the ReLU overwrites them


def test_no_watcher_is_left_after_an_error(layers):
    with pytest.raises(RuntimeError, match="channels"), watched({"a": layers[0], "b": layers[1]}, print):
        layers(torch.rand(1, 2, 5, 6))
    with pytest.raises(AttributeError), watched({"a": layers[0], "b": None}, print):
        raise AssertionError("the second module takes no watcher")
    assert hooks(layers) == []


@pytest.mark.parametrize("whole", [False, True])
def test_each_module_gets_its_own_mode_back_after_an_error_too(layers, whole):
    layers.train(whole)
    layers[1].train(not whole)
    with pytest.raises(ZeroDivisionError), in_evaluation_mode(layers):
        assert not any(part.training for part in layers.modules())
        raise ZeroDivisionError
    assert [part.training for part in layers.modules()] == [whole, whole, not whole, whole]
