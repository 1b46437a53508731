"""The optimizer: fused on CUDA, where the step is the usual one up to rounding, and not on a CPU."""

import pytest
import torch
from factories import RECIPE, small_counter

from benchmark.training.optimizer import make_optimizer


class OnCuda(torch.nn.Parameter):
    """A parameter that says that it is on CUDA. The CPU has fused optimizers, too."""

    is_cuda = True


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_on_cuda_the_optimizer_is_fused_and_takes_the_same_steps(name):
    recipe = RECIPE.model_copy(update={"optimizer": name})
    usual, fused = small_counter("mcnn"), small_counter("mcnn")
    for module in fused.modules():
        for key, parameter in module.named_parameters(recurse=False):
            setattr(module, key, OnCuda(parameter.detach().clone()))
    for counter, expected in ((usual, None), (fused, True)):
        optimizer = make_optimizer(counter, recipe)
        assert optimizer.defaults["fused"] is expected
        for seed in range(3):
            torch.manual_seed(seed)
            for parameter in counter.parameters():
                parameter.grad = torch.randn_like(parameter)
            optimizer.step()
    for one, other in zip(usual.parameters(), fused.parameters()):
        torch.testing.assert_close(one.detach(), other.detach(), rtol=1e-5, atol=1e-6)
