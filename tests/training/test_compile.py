"""training.compile: the layers and the loss of every counter are compiled, with the same results."""

import pytest
import torch
from factories import RECIPE, draw_scenes, flat_weights, small_counter
from torch._dynamo.exc import BackendCompilerFailed

from benchmark.data.batches import Batch
from benchmark.registry import build, find, names, settings_of
from benchmark.testing import MODELS
from benchmark.training.evaluation import count_people
from benchmark.training.loop import Objective, fit
from benchmark.utils import compilation
from benchmark.utils.errors import UserError
from models.base import Counter
from models.parts.transport import CHECK_EVERY

COMPILED = RECIPE.model_copy(update={"epochs": 1, "compile": True})
compile_with = torch.compile


@pytest.fixture
def graphs(monkeypatch):
    """The operations of each graph that torch makes; they run without a C++ compiler."""
    made = []

    def backend(module, inputs):
        made.append([str(node.target) for node in module.graph.nodes if node.op.startswith("call")])
        return module.forward

    use_backend(monkeypatch, backend)
    yield made
    compilation._compiled.cache_clear()
    torch._dynamo.reset()


def use_backend(monkeypatch, backend):
    torch._dynamo.reset()
    compilation._compiled.cache_clear()
    monkeypatch.setattr(torch, "compile", lambda function: compile_with(function, backend=backend))


def counter_of(name):
    scratch = {"weights": "scratch"} if "weights" in settings_of(find("model", name)).model_fields else {}
    counter = build("model", name, scratch | MODELS.get(name, {})).train()
    counter.prepare(draw_scenes(2))
    return counter


def batch_of(heads):
    """Two images with that many heads each."""
    points = [torch.rand(number, 2) * torch.tensor([96.0, 64.0]) for number in heads]
    return Batch(torch.rand(2, 3, 64, 96), points, [torch.full((number,), 4.0) for number in heads])


@pytest.mark.slow
@pytest.mark.parametrize("name", names("model"))
def test_the_layers_and_the_loss_of_every_counter_are_compiled_for_any_number_of_heads(graphs, name):
    counter = counter_of(name)
    objective = Objective(counter, None, (), compiles=True)
    versions = []
    for heads in ((30, 4), (7, 12), (2, 40), (0, 17), (25, 25)):
        views = batch_of(heads)
        torch.testing.assert_close(objective(views), counter.loss(views), rtol=1e-6, atol=1e-6)
        versions.append(len(graphs))
    assert any("conv" in operation for graph in graphs for operation in graph)
    assert versions[1] == versions[-1]  # the second has any number of heads


@pytest.mark.slow
def test_ten_sinkhorn_steps_are_one_graph(graphs):
    Objective(counter_of("clip_ebc"), None, (), compiles=True)(batch_of((30, 4)))
    products = [sum("matmul" in operation for operation in graph) for graph in graphs]
    assert products.count(2 * CHECK_EVERY + 1) == 1  # two of each step, and one for the error


@pytest.mark.slow
def test_a_compiled_training_ends_in_the_same_weights_and_evaluation_is_not_compiled(graphs):
    scenes, counters = draw_scenes(8), [small_counter() for _ in range(2)]
    for counter, compiles in zip(counters, (False, True)):
        fit(counter, scenes, COMPILED.model_copy(update={"compile": compiles}), 0, "train")
        assert bool(graphs) == compiles
    torch.testing.assert_close(*map(flat_weights, counters), rtol=1e-6, atol=1e-6)
    before = len(graphs)
    count_people(counters[1], scenes, "fp32")
    counters[1].features(torch.rand(1, 3, 64, 96))
    assert len(graphs) == before


@pytest.mark.slow
def test_a_hook_that_is_added_later_runs(graphs):
    counter, seen = small_counter(), []
    fit(counter, draw_scenes(4), COMPILED, 0, "train")
    counter.output.register_forward_hook(lambda *_: seen.append(1))
    fit(counter, draw_scenes(4), COMPILED, 0, "train")
    assert seen


def test_the_loss_of_a_defender_runs_as_it_is_and_a_line_says_so(graphs, capsys):
    fit(small_counter(), draw_scenes(4), COMPILED, 0, "train", loss=lambda counter, batch: counter.loss(batch))
    assert not graphs
    assert "train: training.compile compiles only a counter's own loss" in capsys.readouterr().err


def test_a_line_says_that_nothing_is_compiled(graphs, capsys):
    class Alone(Counter):
        """A counter whose loss calls its layers itself."""

        name = "alone"

        def __init__(self):
            super().__init__()
            self.output = torch.nn.Conv2d(3, 1, 8, stride=8)

        def density(self, images):
            return self.output(images)

        def loss(self, batch):
            return self.output(batch.images).sum(dim=(1, 2, 3)).square()

    fit(Alone(), draw_scenes(8), COMPILED, 0, "train")
    assert not graphs
    lines = [line for line in capsys.readouterr().err.splitlines() if "training.compile: nothing of alone" in line]
    assert len(lines) == 1


def test_a_failed_compilation_is_one_line(monkeypatch):
    def fail(module, inputs):
        raise RuntimeError("no C++ compiler\nand much more")

    use_backend(monkeypatch, fail)
    with pytest.raises(UserError, match="training.compile = true: torch cannot compile .*no C.. compiler") as refusal:
        fit(small_counter(), draw_scenes(4), COMPILED, 0, "train")
    assert "\n" not in str(refusal.value)
    assert isinstance(refusal.value.__cause__, BackendCompilerFailed)
    compilation._compiled.cache_clear()
    torch._dynamo.reset()
