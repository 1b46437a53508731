"""Weights in 16 bits are shared only where they give exactly the counts of the original ones."""

import pytest
from zoo_grid import request_for

from benchmark.cli import main
from benchmark.config.grid import cells
from benchmark.pipeline import runner
from benchmark.pipeline.graph import StageGraph
from benchmark.pipeline.store import Store
from benchmark.zoo.index import INDEX, read_index


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The records and the store of a counter with BatchNorm and of one without, in bf16 and in fp32."""
    folder = tmp_path_factory.mktemp("runs")
    grid = []
    for model in ({"name": "tiny", "width": 8}, "mcnn"):
        for precision in ("bf16", "fp32") if model == "mcnn" else ("bf16",):
            training = {"epochs": 1, "batch_size": 4, "lr": 1e-4, "precision": precision, "select": "last"}
            grid += cells(request_for(folder / "drawings") | {"model": model, "training": training})
    graph = StageGraph(Store(folder / "store"))
    outcome = runner.run(grid, graph, folder)
    assert not outcome.failures
    return grid, graph, outcome


@pytest.mark.slow
def test_only_counters_that_count_the_same_are_rounded(runs, desk, capsys):
    grid, graph, outcome = runs
    pushed = ["zoo", "push", *map(str, outcome.paths), "--store", str(graph.store.root), "--to", "zoo"]
    assert main([*pushed, "--half"]) == 0
    told = capsys.readouterr().err
    stages = read_index(desk / "zoo" / INDEX, "zoo").stages
    assert len(stages) == 6 and told.count(", in 16 bits") == 2
    for cell in grid:
        stage = graph.victim(cell)
        size = stages[stage.key].files["weights.safetensors"].size
        original = (graph.store.get(stage) / "weights.safetensors").stat().st_size
        is_rounded = cell.model.name == "mcnn" and cell.recipe.precision == "bf16"
        assert bool(stages[stage.key].rounded_from) == is_rounded
        assert size < 0.6 * original if is_rounded else size == original
    assert main(["zoo", "verify", "zoo"]) == 0
    assert main([*pushed, "--half"]) == 0 and main(pushed) == 0  # nothing is added, and nothing is refused
    assert capsys.readouterr().out.count("0 stages added") == 2


@pytest.mark.slow
def test_a_record_of_a_rounded_counter_has_the_same_counts_and_says_so(runs, desk):
    grid, graph, outcome = runs
    assert main(["zoo", "push", *map(str, outcome.paths), "--store", str(graph.store.root), "--to", "zoo", "--half"]) == 0
    assert main(["zoo", "pull", "zoo"]) == 0
    again = runner.run(grid, StageGraph(Store(desk / "runs" / "store")), desk)
    assert [record.images for record in again.records] == [record.images for record in outcome.records]
    for cell, record in zip(grid, again.records):
        is_rounded = cell.model.name == "mcnn" and cell.recipe.precision == "bf16"
        assert any("rounded to bf16 in a zoo" in line for line in record.warnings) == is_rounded
