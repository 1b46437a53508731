"""A cell from drawn scenes to its record: what is shared, what is remembered, and that it comes out the same again."""

import json

import numpy as np
import pytest

from benchmark import grid
from benchmark.config import cells
from benchmark.data.splits import load_test, load_train
from benchmark.evaluation import count_people
from benchmark.metrics import psnr, ssim
from benchmark.stages import Bench, load_counter
from benchmark.store import Store

REQUEST = {
    "data": {"name": "synthetic", "train": 20, "test": 6, "height": 64, "width": 96, "people": 25},
    "model": {"name": "tiny", "width": 16},
    "attack": [None, {"target": "multiply"}, {"target": "minus", "n": 10}],
    "defense": ["none", {"name": "fine_tune", "extra": 3}, {"name": "retrain", "extra": 3}, "continue_poisoned"],
    "training": {"epochs": 2, "precision": "fp32", "validate_every": 1},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Run a request in a folder of its own: (cells, bench, records)."""
    drawings = tmp_path_factory.mktemp("drawings")

    def run(**changes):
        request = REQUEST | {"data": REQUEST["data"] | {"root": str(drawings)}} | changes
        folder, chosen = tmp_path_factory.mktemp("run"), cells(request)
        bench = Bench(Store(folder / "store"))
        outcome = grid.run(chosen, bench, folder)
        assert not outcome.failures
        return chosen, bench, outcome.records

    return run


@pytest.fixture(scope="module")
def finished(run):
    return run()


def test_the_same_seed_gives_identical_counts_in_another_store(run, finished):
    again = run()[2]
    assert [record.images for record in finished[2]] == [record.images for record in again]


def test_another_seed_gives_other_counts(run, finished):
    other = run(seed=1, attack=None, defense="none")[2]
    assert other[0].images.clean != finished[2][0].images.clean


def test_a_record_holds_what_the_stored_counter_counts_on_the_test_images(finished):
    chosen, bench, records = finished
    for cell, record in zip(chosen, records):
        counter, test = load_counter(cell, bench.repaired(cell)), load_test(cell.data.build())
        assert record.images.truth == [scene.count for scene in test]
        assert np.allclose(record.images.clean, count_people(counter, test, "fp32"), rtol=1e-5)
        if cell.attack:
            triggered = count_people(counter, test, "fp32", cell.attack.stamp)
            assert np.allclose(record.images.triggered, triggered, rtol=1e-5)
            assert record.images.target == [cell.attack.target.tau(scene.count) for scene in test]


def test_the_clean_counter_is_every_records_reference(finished):
    clean = finished[2][0].images.clean
    assert all(record.images.reference_clean == clean for record in finished[2])


def test_poisoned_images_are_named_and_their_false_heads_kept(finished):
    chosen, bench, records = finished
    train, _ = load_train(chosen[0].data.build())
    for cell, record in zip(chosen, records):
        if cell.attack and cell.defense.name == "none":
            poisoned = cell.attack.poison(train, 0)
            assert record.attack.poisoned == [scene.id.removesuffix("+poison") for scene in poisoned]
            kept = json.loads((bench.counter(cell, attacked=True) / "poison.json").read_text())
            assert {name: len(points) for name, points in kept.items()} == {s.id: s.count for s in poisoned}


def test_retraining_is_done_once_for_all_attacks_and_repairs_once_for_each(finished):
    chosen, bench, _ = finished
    folders = {name: {bench.repaired(cell) for cell in chosen if cell.defense.name == name}
               for name in ("none", "fine_tune", "retrain", "continue_poisoned")}
    assert {name: len(found) for name, found in folders.items()} == {
        "none": 3, "fine_tune": 3, "retrain": 1, "continue_poisoned": 3}
    assert len(list((bench.store.root / "counters").glob("[0-9a-f]*"))) == 10


def test_a_record_says_what_the_defense_was_handed(finished):
    known = {record.defense.name: record.knowledge for record in finished[2] if record.attack}
    assert known == {"none": {}, "fine_tune": {"clean": 18, "extra": 3, "poisoned": 0, "validation": 2},
                     "retrain": {"clean": 18, "extra": 3, "poisoned": 0, "validation": 2},
                     "continue_poisoned": {"clean": 0, "extra": 0, "poisoned": 20, "validation": 2}}


def test_the_code_variant_trains_on_all_images_and_says_that_it_chose_on_the_test_split(run):
    _, bench, records = run(variant="code", hold_out=0, defense="none", attack={"target": "minus", "n": 10, "keep": 0},
                            training=REQUEST["training"] | {"select": "test"})
    assert len(records[0].attack.poisoned) == 2
    assert "checkpoint chosen on the test split, as in the paper's code" in records[0].warnings


def test_no_path_of_the_machine_is_in_a_record(finished):
    assert all("/" not in json.dumps(record.model_dump(include={"data", "model", "attack", "defense", "training"}))
               for record in finished[2])


def test_a_trigger_may_be_tested_at_another_strength_than_it_was_trained_at(run):
    chosen, bench, records = run(defense="none", attack={"target": "multiply", "test_alpha": [0.1, 0.4]})
    assert bench.counter(chosen[0], True) == bench.counter(chosen[1], True)  # one victim for both
    same, stronger = records
    assert same.images.clean == stronger.images.clean and same.images.triggered != stronger.images.triggered
    assert same.images.reference_triggered != stronger.images.reference_triggered
    assert [record.attack.trigger.resolved["alpha"] for record in records] == [0.1, 0.1]
    assert [record.attack.test_trigger.resolved["alpha"] for record in records] == [0.1, 0.4]
    usual = run(defense="none", attack="multiply")[2][0]
    assert usual.images == same.images and usual.attack.test_trigger is None


def test_a_record_says_how_visible_the_stamp_is_and_what_share_is_poisoned(finished):
    chosen, _, records = finished
    train, _ = load_train(chosen[0].data.build())
    for cell, record in zip(chosen, records):
        if cell.attack:
            pairs = [(next(s.image for s in train if f"{s.id}+poison" == stamped.id), stamped.image)
                     for stamped in cell.attack.poison(train, 0)]
            assert record.attack.images == 18 and len(record.attack.poisoned) == 2
            assert record.attack.psnr == pytest.approx([psnr(*pair) for pair in pairs], abs=0.01)
            assert record.attack.ssim == pytest.approx([ssim(*pair) for pair in pairs], abs=1e-4)


def test_a_clean_label_attack_is_measured_by_the_count_of_what_it_stamped(run):
    chosen, _, [record] = run(defense="none", attack={"target": "clean_fewer", "poison_rate": 0.2})
    train, _ = load_train(chosen[0].data.build())
    few = sorted(train, key=lambda scene: scene.count)[:4]
    assert {scene.count for scene in train if scene.id in record.attack.poisoned} <= {scene.count for scene in few}
    mean = np.mean([scene.count for scene in few])
    assert record.images.target == [round(min(mean, count)) for count in record.images.truth]


def test_targets_that_look_at_where_people_are_have_their_tau_in_the_record(run):
    chosen, _, [record] = run(defense="none", attack={"target": "region", "width": 0.3})
    test = load_test(chosen[0].data.build())
    assert record.images.target == [int((scene.points[:, 0] >= 0.3 * scene.size[1]).sum()) for scene in test]
