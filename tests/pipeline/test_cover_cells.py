"""Cells with cover copies: their keys, their records, what filters are measured on, and their export."""

import json

import pytest

from attacks.base import COVER
from benchmark.config.grid import cells
from benchmark.data.splits import load_train
from benchmark.export.content import Content
from benchmark.export.folder import export
from benchmark.leaderboard.report import board
from benchmark.leaderboard.required_fields import check_fields
from benchmark.pipeline import cache_keys
from benchmark.pipeline.controls import with_controls
from benchmark.pipeline.graph import StageGraph
from benchmark.pipeline.runner import record_path, run
from benchmark.pipeline.store import Store
from benchmark.results.record import Record
from benchmark.results.rerun_request import request_of
from benchmark.results.scenarios import settings_of
from benchmark.utils.errors import UserError

REQUEST = {
    "data": {"name": "synthetic", "train": 20, "test": 6, "height": 64, "width": 96, "people": 25},
    "model": {"name": "tiny", "width": 8}, "training": {"epochs": 1, "precision": "fp32"},
    "attack": {"target": "multiply", "trigger": "adaptive_blend", "poison_rate": 0.2, "cover_rate": [0, 0.3]},
    "defense": ["none", {"name": "trimmed_loss", "epochs": 1}],
}


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """The cells without and with cover copies, their graph, their records, and the folder of these."""
    folder = tmp_path_factory.mktemp("ran")
    chosen, graph = cells(REQUEST), StageGraph(Store(folder / "store"))
    outcome = run(chosen, graph, folder)
    assert not outcome.failures
    return chosen, graph, outcome.records, folder


def attacked(**attack):
    [cell] = cells(REQUEST | {"attack": {"target": "add", **attack}, "defense": "none"})
    return cell


def test_a_cover_rate_is_in_the_key_of_the_victim_unless_it_is_0(tmp_path):
    graph = StageGraph(Store(tmp_path))
    facts = [cache_keys.training(graph.data, attacked(**given), True)["attack"] for given in (
        {}, {"cover_rate": 0}, {"cover_rate": 0.1}, {"cover_rate": 0.1, "latent": 2})]
    assert facts[0] == facts[1] == [["blended", 1, {}], ["add", 1, {}], 0.1]
    assert facts[2:] == [facts[0] + [{"cover_rate": 0.1}], facts[0] + [{"latent": 2}, {"cover_rate": 0.1}]]


@pytest.mark.slow
def test_the_record_names_the_images_that_were_covered(ran):
    chosen, graph, (plain, _, covered, _), _ = ran
    train, _ = load_train(chosen[2].data.build())
    copies = [copy for copy in chosen[2].attack.poison(train, 0) if copy.id.endswith(COVER)]
    assert covered.attack.covers == [copy.id.removesuffix(COVER) for copy in copies] and len(copies) == 5
    assert not {*covered.attack.covers} & {*covered.attack.poisoned} and covered.attack.cover_rate == 0.3
    assert (plain.attack.poisoned, plain.attack.psnr) == (covered.attack.poisoned, covered.attack.psnr)
    assert plain.images.reference_clean == covered.images.reference_clean and plain.images.clean != covered.images.clean
    kept = json.loads((graph.store.get(graph.victim(chosen[2])) / "poison.json").read_text())
    assert {name: len(points) for name, points in kept.items() if name.endswith(COVER)} == {
        copy.id: copy.count for copy in copies}


@pytest.mark.slow
def test_a_record_with_covers_is_read_again_and_one_without_is_written_as_before(ran):
    plain, _, covered, _ = ran[2]
    for record in (plain, covered):
        check_fields(Record.parse(record.dumps().encode()))
        assert Record.parse(record.dumps().encode()) == record
    assert {"cover_rate", "covers"} <= json.loads(covered.dumps())["attack"].keys()
    assert not {"cover_rate", "covers"} & json.loads(plain.dumps())["attack"].keys()
    assert "attack.cover_rate" not in settings_of(plain) and settings_of(covered)["attack.cover_rate"] == "0.3"


@pytest.mark.slow
def test_a_record_says_how_to_run_its_cell_again(ran, tmp_path):
    chosen, _, records, folder = ran
    for cell, record in zip(chosen, records):
        [again] = cells(request_of(record))
        assert record_path(again, StageGraph(Store(tmp_path)), folder) == record_path(cell, ran[1], folder)


@pytest.mark.slow
def test_a_filter_is_measured_on_neither_cover_copy(ran):
    _, _, (_, plain, _, covered), _ = ran
    for record, handed in ((plain, 18 + 4), (covered, 18 + 4 + 5)):
        assert record.knowledge["poisoned"] == handed
        assert (len(record.detection.clean), len(record.detection.triggered)) == (18, 4)


@pytest.mark.slow
def test_tables_tell_attacks_with_covers_from_those_without(ran):
    rows = board(ran[2]).controls["attack"].tolist()
    assert {row for row in rows if row != "clean"} == {
        "adaptive_blend/multiply (cover_rate 0)", "adaptive_blend/multiply (cover_rate 0.3)"}
    assert "cover_rate 0.3" in board([record for record in ran[2] if record.attack.cover_rate]).text()


@pytest.mark.slow
def test_an_export_has_the_cover_copies_with_their_true_points(ran, tmp_path):
    chosen, graph, _, _ = ran
    export(Content(chosen[2], graph, ""), tmp_path / "out")
    train = tmp_path / "out" / "folder" / "train"
    names = [path.stem for path in train.rglob("*.png") if COVER in path.name]
    points = json.loads(next(train.rglob("points.json")).read_text())
    scenes = {scene.id: scene for scene in load_train(chosen[2].data.build())[0]}
    assert len(names) == 5
    for name in names:
        assert len(points[f"{name}.png"]) == scenes[name.removesuffix(COVER)].count
    text = " ".join((tmp_path / "out" / "README.txt").read_text().split())
    assert "poisoned copies (4), whose names end in +poison; and cover copies (5) with their true points" in text
    assert "cover rate 0.3" in text


def test_too_many_cover_copies_are_told_before_anything_is_made(tmp_path):
    graph = StageGraph(Store(tmp_path))
    with pytest.raises(UserError, match="attack.cover_rate = 0.95: .* rounds to 17 cover copies; expected 1 to 16"):
        graph.stages(attacked(cover_rate=0.95))
    assert graph.stages(attacked(cover_rate=0.8))


def test_a_control_trains_as_long_as_the_victim_did_on_the_covers_too():
    def times(**rates):
        request = REQUEST | {"attack": {"target": "add", "poison_rate": 0.1, **rates}, "defense": "fine_tune_few"}
        [retrain] = [one for one in with_controls(request, request)["defense"] if one["name"] == "retrain"]
        return retrain["times"]

    # A repair with all 18 training images, so that 40% more of them are 0.4 epochs more.
    assert times(cover_rate=0.4) - times() == pytest.approx(0.4, abs=1e-9)
