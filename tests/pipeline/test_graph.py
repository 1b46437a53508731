"""A cell from drawn scenes to its record: what is shared, what is remembered, and that it comes out the same again."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from attacks.parts.surrogate import Surrogate
from attacks.triggers.baiqa import Baiqa
from benchmark.config.grid import cells
from benchmark.data.lighting_drift import drifted
from benchmark.data.scene import Scene
from benchmark.data.splits import load_test, load_train
from benchmark.leaderboard.report import board
from benchmark.metrics.image_quality import psnr, ssim
from benchmark.pipeline import cache_keys, runner
from benchmark.pipeline.counter_files import load_counter, with_pattern
from benchmark.pipeline.dry_run import plan
from benchmark.pipeline.graph import StageGraph
from benchmark.pipeline.store import Store
from benchmark.pipeline.store_admin import garbage
from benchmark.results.record import Record
from benchmark.training.evaluation import count_people
from benchmark.utils.tensors import read_tensors

pytestmark = pytest.mark.slow

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
        graph = StageGraph(Store(folder / "store"))
        outcome = runner.run(chosen, graph, folder)
        assert not outcome.failures
        return chosen, graph, outcome.records

    return run


@pytest.fixture(scope="module")
def finished(run):
    return run()


def test_the_same_seed_gives_identical_counts_in_another_store(run, finished):
    again = {record.defense.name: record.images for record in run(attack="multiply")[2]}
    assert again == {record.defense.name: record.images for record in finished[2]
                     if record.attack and record.attack.target.name == "multiply"}


def test_another_seed_gives_other_counts(run, finished):
    other = run(seed=1, attack=None, defense="none")[2]
    assert other[0].images.clean != finished[2][0].images.clean


def test_a_record_holds_what_the_stored_counter_counts_on_the_test_images(finished):
    chosen, graph, records = finished
    for cell, record in zip(chosen, records):
        counter, test = load_counter(graph.store, cell, graph.repaired(cell)), load_test(cell.data.build())
        assert record.images.truth == [scene.count for scene in test]
        assert np.allclose(record.images.clean, count_people(counter, test, "fp32"), rtol=1e-5)
        if cell.attack:
            triggered = count_people(counter, test, "fp32", cell.attack.stamp)
            assert np.allclose(record.images.triggered, triggered, rtol=1e-5)
            assert record.images.target == [cell.attack.target.tau(scene.count) for scene in test]


def test_the_clean_counter_is_every_records_reference(finished):
    clean = finished[2][0].images.clean
    assert all(record.images.reference_clean == clean for record in finished[2])


def test_a_record_names_all_of_its_counters_so_that_none_is_deleted_while_it_is_kept(finished):
    chosen, graph, records = finished
    for cell, record in zip(chosen, records):
        control = graph.control(cell)
        named = record.provenance["stages"].get("control", {}).get("key")
        assert named == (control and control.key) and (named is None) == (not cell.attack or cell.defense.name == "none")
    attacked = [record for record in records if record.attack]
    assert garbage(graph.store.root, attacked) == []


def test_poisoned_images_are_named_and_their_false_heads_kept(finished):
    chosen, graph, records = finished
    train, _ = load_train(chosen[0].data.build())
    for cell, record in zip(chosen, records):
        if cell.attack and cell.defense.name == "none":
            poisoned = cell.attack.poison(train, 0)
            assert record.attack.poisoned == [scene.id.removesuffix("+poison") for scene in poisoned]
            kept = json.loads((graph.store.get(graph.victim(cell)) / "poison.json").read_text())
            assert {name: len(points) for name, points in kept.items()} == {s.id: s.count for s in poisoned}


def test_retraining_is_done_once_for_all_attacks_and_repairs_once_for_each(finished):
    chosen, graph, _ = finished
    folders = {name: {graph.repaired(cell) for cell in chosen if cell.defense.name == name}
               for name in ("none", "fine_tune", "retrain", "continue_poisoned")}
    assert {name: len(found) for name, found in folders.items()} == {
        "none": 3, "fine_tune": 3, "retrain": 1, "continue_poisoned": 3}
    assert len(list((graph.store.root / "counters").glob("[0-9a-f]*"))) == 10


def test_a_record_says_what_the_defense_was_handed(finished):
    known = {record.defense.name: record.knowledge for record in finished[2] if record.attack}
    assert known == {"none": {}, "fine_tune": {"clean": 18, "extra": 3, "poisoned": 0, "validation": 2},
                     "retrain": {"clean": 18, "extra": 3, "poisoned": 0, "validation": 2},
                     "continue_poisoned": {"clean": 0, "extra": 0, "poisoned": 20, "validation": 2}}


def test_the_code_variant_trains_on_all_images_and_says_that_it_chose_on_the_test_split(run):
    _, graph, records = run(variant="code", hold_out=0, defense="none", attack={"target": "minus", "n": 10, "keep": 0},
                            training=REQUEST["training"] | {"select": "test"})
    assert len(records[0].attack.poisoned) == 2
    assert "checkpoint chosen on the test split, as in the paper's code" in records[0].warnings


def test_no_path_of_the_machine_is_in_a_record(finished):
    assert all("/" not in json.dumps(record.model_dump(include={"data", "model", "attack", "defense", "training"}))
               for record in finished[2])


def test_a_trigger_may_be_tested_at_another_strength_than_it_was_trained_at(run):
    chosen, graph, records = run(defense="none", attack={"target": "multiply", "test_alpha": [0.1, 0.4]})
    assert graph.victim(chosen[0]) == graph.victim(chosen[1])  # one victim for both
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


# What a victim is known by

@pytest.mark.parametrize("attack, facts", [
    ("multiply", [["blended", 1, {}], ["multiply", 1, {}], 0.1]),
    ({"target": "add", "n": 5, "alpha": 0.2, "test_alpha": 0.4, "poison_rate": 0.2, "latent": 0},
     [["blended", 1, {"alpha": 0.2}], ["add", 1, {"n": 5}], 0.2]),
    ({"target": "add", "choose": "most", "also": None}, [["blended", 1, {}], ["add", 1, {}], 0.1, "most"]),
    ({"trigger": "ftrojan", "target": "add", "latent": 0.5},
     [["ftrojan", 1, {}], ["add", 1, {}], 0.1, {"latent": 0.5}]),
    ({"trigger": "baiqa", "target": "add", "strength": 0.5, "test_strength": 0.1},
     [["baiqa", 3, {"strength": 0.5}], ["add", 1, {}], 0.1]),
    (None, None)])
def test_the_facts_of_an_attack_are_what_they_were_so_that_stored_victims_are_found(tmp_path, attack, facts):
    [cell] = cells(REQUEST | {"data": REQUEST["data"] | {"root": str(tmp_path)}, "attack": attack, "defense": "none"})
    graph = StageGraph(Store(tmp_path))
    victim, clean = cache_keys.training(graph.data, cell, True), cache_keys.training(graph.data, cell, False)
    assert victim == clean | ({"attack": facts} if facts else {}) and "attack" not in clean


# A trigger that is optimised on the clean counter of another seed

@pytest.fixture(scope="module")
def optimised(run):
    return run(defense=["none", "continue_poisoned"], attack=[
        {"trigger": "baiqa", "target": "multiply", "steps": 4, "strength": strength, "test_strength": test}
        for strength, test in ((1, 1), (1, 0.5), (-1, -1), (1, 0))])


def test_a_pattern_is_optimised_once_for_all_strengths_and_kept(optimised, monkeypatch):
    chosen, graph, _ = optimised
    [folder] = (graph.store.root / "triggers").glob("[0-9a-f]*")
    monkeypatch.setattr(Baiqa, "optimised", None)
    for cell in chosen:
        assert graph.store.path(graph.pattern(cell)) == folder
        pattern = read_tensors(folder / "pattern.safetensors")[0]["pattern"]
        assert (with_pattern(graph.store, cell.tested, graph.pattern(cell)).trigger._pattern == pattern).all()
    other = replace(chosen[0], trigger=replace(chosen[0].trigger, given=chosen[0].trigger.given | {"steps": 5}))
    assert cache_keys.pattern(graph.data, other) != cache_keys.pattern(graph.data, chosen[0])


def test_a_pattern_of_images_alone_depends_on_them_and_on_the_seed_and_not_on_the_counter(optimised):
    [cell] = cells(REQUEST | {"attack": {"trigger": "ssba", "target": "multiply"}, "defense": "none"})
    data, key = optimised[1].data, cache_keys.pattern(optimised[1].data, cell)
    changed = {name: replace(cell, settings=cell.settings.model_copy(update={name: value}))
               for name, value in (("seed", 1), ("hold_out", 0.4), ("scale", 0.5))}
    assert all(cache_keys.pattern(data, other) != key for other in changed.values())
    wide = replace(cell, model=replace(cell.model, given=cell.model.given | {"width": 48}))
    assert cache_keys.pattern(data, wide) == key


def test_a_pattern_is_optimised_on_the_clean_counter_of_another_seed(optimised, run, tmp_path):
    chosen, graph, _ = optimised
    other = replace(chosen[0], settings=chosen[0].settings.model_copy(update={"seed": 1}))
    surrogate = load_counter(graph.store, other, graph.clean(other)).requires_grad_(False)
    train, _ = load_train(chosen[0].data.build())
    expected = chosen[0].trigger.build().optimised(Surrogate(surrogate), train, 0)
    folder = graph.store.get(graph.pattern(chosen[0]))
    assert np.allclose(read_tensors(folder / "pattern.safetensors")[0]["pattern"], expected, atol=1e-4)
    [needed] = graph.pattern(chosen[0]).needs
    assert needed == graph.clean(other) != graph.clean(chosen[0])
    reference = load_counter(graph.store, chosen[0], graph.clean(chosen[0])).requires_grad_(False)
    assert not np.allclose(chosen[0].trigger.build().optimised(Surrogate(reference), train, 0), expected, atol=0.1)


@pytest.mark.parametrize("trigger, tested", [("lira", {"strength": -1}), ("ssba", {"seed": 1})])
def test_a_learned_network_is_the_pattern_of_the_victims_and_of_the_test_images(run, trigger, tested):
    """Two test settings share one pattern and one victim, and are counted by this pattern."""
    attack = {"trigger": trigger, "target": "multiply", "steps": 3}
    chosen, graph, records = run(defense="none", attack=[
        attack, attack | {f"test_{key}": value for key, value in tested.items()}])
    assert len({graph.pattern(cell) for cell in chosen}) == len({graph.repaired(cell) for cell in chosen}) == 1
    assert [stage.role for stage in graph.pattern(chosen[0]).needs] == {"lira": ["surrogate"], "ssba": []}[trigger]
    test = load_test(chosen[0].data.build())
    counter = load_counter(graph.store, chosen[0], graph.repaired(chosen[0]))
    counted = [record.images.triggered for record in records]
    for cell, counts in zip(chosen, counted):
        stamp = with_pattern(graph.store, cell.tested, graph.pattern(cell)).stamp
        assert np.allclose(counts, count_people(counter, test, "fp32", stamp), rtol=1e-5)
        assert not np.allclose(counts, count_people(counter, test, "fp32", cell.tested.stamp), rtol=1e-5)
    assert not np.allclose(*counted, rtol=1e-5)


def test_two_seeds_are_the_surrogates_of_each_other(optimised):
    request = REQUEST | {"attack": {"trigger": "baiqa", "target": "multiply"}, "defense": "none"}
    graph = optimised[1]

    def stages(seeds):
        return {stage for cell in cells(request | {"seed": seeds}) for stage in graph.stages(cell)
                if stage.title.startswith("train tiny clean")}

    assert len(stages([0, 1])) == 2 == len(stages([0])) == len(stages([1])) and len(stages([1, 2])) == 4
    assert stages([0]) == stages([1]) and len(stages([6, 7, 0, 1])) == 4


def test_what_is_counted_carries_the_optimised_pattern_at_the_tests_strength(optimised):
    chosen, graph, records = optimised
    test = load_test(chosen[0].data.build())
    for cell, record in zip(chosen, records):
        attack, random = with_pattern(graph.store, cell.tested, graph.pattern(cell)), cell.tested
        for stage, counted in ((graph.repaired(cell), record.images.triggered),
                                (graph.clean(cell), record.images.reference_triggered)):
            counter = load_counter(graph.store, cell, stage)
            assert np.allclose(counted, count_people(counter, test, "fp32", attack.stamp), rtol=1e-5)
            if attack.trigger.strength:
                assert not np.allclose(counted, count_people(counter, test, "fp32", random.stamp), rtol=1e-5)
            else:
                assert np.allclose(counted, count_people(counter, test, "fp32"), rtol=1e-5)


def test_a_victim_is_poisoned_with_the_optimised_pattern(optimised):
    chosen, graph, records = optimised
    scenes = {scene.id: scene for scene in load_train(chosen[0].data.build())[0]}
    for cell, record in zip(chosen[::2], records[::2]):
        for attack, same in ((with_pattern(graph.store, cell.attack, graph.pattern(cell)), True), (cell.attack, False)):
            stamped = [copy.image for copy in attack.poison([*scenes.values()], 0)]
            found = [psnr(scenes[name].image, image) for name, image in zip(record.attack.poisoned, stamped)]
            assert (record.attack.psnr == pytest.approx(found, abs=0.01)) == same
    victims = {graph.victim(cell) for cell in chosen}
    assert len(victims) == 2  # strength 1 and -1


def test_the_pattern_is_among_what_a_run_makes(optimised, tmp_path):
    planned = plan(optimised[0], StageGraph(Store(tmp_path)), tmp_path)
    assert [row["to make"] for row in planned.cells] == [
        "clean counter, surrogate, trigger, victim, counts", "repair, counts", "counts", "counts",
        "victim, counts", "repair, counts", "counts", "counts"]
    assert {row["to make"] for row in plan(optimised[0], optimised[1], tmp_path).cells} == {"nothing"}


# Two attacks on one victim

FIRST = {"trigger": "blended", "target": "multiply", "poison_rate": 0.2}
SECOND = {"trigger": "rain", "target": "minus", "n": 10, "alpha": 0.4}


@pytest.fixture(scope="module")
def both(run):
    return run(defense=["none", "continue_poisoned"],
               attack=[FIRST | {"also": SECOND}, SECOND | {"also": FIRST}, FIRST])


def test_two_attacks_share_a_victim_whichever_is_measured(both):
    chosen, graph, records = both
    one, _, other, _, alone, _ = (graph.victim(cell) for cell in chosen)
    assert one == other != alone
    assert len({graph.repaired(cell) for cell in chosen}) == 4
    first, _, second, _, single, _ = records
    assert first.images.clean == second.images.clean and first.images.triggered != second.images.triggered
    assert first.images.target == single.images.target != second.images.target
    assert first.images.reference_triggered == single.images.reference_triggered
    test = load_test(chosen[0].data.build())
    for cell, record in zip(chosen, records):
        counter = load_counter(graph.store, cell, graph.repaired(cell))
        assert np.allclose(record.images.triggered, count_people(counter, test, "fp32", cell.attack.stamp), rtol=1e-5)


def test_two_attacks_train_the_same_victim_in_either_order(both, run):
    [again] = run(defense="none", attack=SECOND | {"also": FIRST})[2]
    assert (again.images, again.attack) == (both[2][2].images, both[2][2].attack)


def test_a_record_tells_of_both_attacks(both):
    chosen, graph, (first, _, second, _, single, _) = both
    train, _ = load_train(chosen[0].data.build())
    for record, cell in ((first, chosen[0]), (second, chosen[2])):
        for told, attack in ((record.attack, cell.attack), (record.attack.also, cell.also.attack)):
            poisoned = attack.poison(train, 0)
            pairs = [(next(s.image for s in train if f"{s.id}+poison" == copy.id), copy.image) for copy in poisoned]
            assert told.poisoned == [copy.id.removesuffix("+poison") for copy in poisoned]
            assert told.psnr == pytest.approx([psnr(*pair) for pair in pairs], abs=0.01)
            assert (told.trigger.name, told.target.name) == (attack.trigger.name, attack.target.name)
            assert told.poison_rate == attack.poison_rate and told.images == 18
    assert second.attack.also == single.attack == first.attack.model_copy(update={"also": None})
    assert first.attack.also == second.attack.model_copy(update={"also": None})
    folder = graph.store.get(graph.victim(chosen[0]))
    points = [json.loads((folder / name).read_text()) for name in ("poison.json", "poison-also.json")]
    assert {len(copies) for copies in points} == {2, 4}
    again = Record.model_validate_json(first.dumps())
    assert again == first and again.attack.also.trigger.name == "rain"


def test_a_defense_is_handed_both_poisoned_sets(both):
    handed = [record.knowledge["poisoned"] for record in both[2] if record.defense.name == "continue_poisoned"]
    assert handed == [18 + 4 + 2, 18 + 4 + 2, 18 + 4]


def test_tables_tell_two_attacks_from_one(both):
    rows = board([record for record in both[2] if record.defense.name == "none"]).controls
    assert sorted(rows["attack"]) == [
        "blended/multiply (also none, poison_rate 0.2)", "blended/multiply (also rain/minus, poison_rate 0.2)", "clean",
        "rain/minus (also blended/multiply, poison_rate 0.1)"]


def test_cells_that_differ_in_the_attack_that_is_measured_have_records_of_their_own(run, tmp_path):
    same = [{"trigger": trigger, "target": "add", "also": {"trigger": other, "target": "add"}}
            for trigger, other in (("rain", "snow"), ("snow", "rain"))]
    chosen, graph, _ = run(defense="none", attack=same)
    assert graph.victim(chosen[0]) == graph.victim(chosen[1])
    assert len({runner.record_path(cell, graph, tmp_path) for cell in chosen}) == 2


# An attack that controls training

def test_a_latent_weight_changes_the_victim_and_is_in_the_record(run):
    usual, latent = run(defense="none", attack={"target": "multiply", "latent": [0, 50]})[2]
    assert usual.images.clean != latent.images.clean and usual.images.reference_clean == latent.images.reference_clean
    assert (usual.attack.latent, latent.attack.latent) == (0, 50)
    assert usual.attack.poisoned == latent.attack.poisoned
    plain = run(defense="none", attack="multiply")[2][0]
    assert plain.images == usual.images
    rows = board([usual, latent]).controls["attack"].tolist()
    assert rows[1:] == ["blended/multiply (latent 0)", "blended/multiply (latent 50)"]


def test_the_rate_of_a_list_of_images_is_its_share(run, finished, tmp_path):
    poisoned = next(record.attack.poisoned for record in finished[2] if record.attack)
    (tmp_path / "ids.txt").write_text(poisoned[0])
    [record] = run(defense="none", attack={"target": "add", "choose": str(tmp_path / "ids.txt")})[2]
    assert record.attack.poison_rate == 1 / 18 and record.attack.choose.startswith("ids.txt sha256 ")


# Detectors, filters and changes of the image

@pytest.fixture(scope="module")
def detected(run):
    """Every kind of defense that is no plain repair, on one attack."""
    longer = REQUEST["training"] | {"epochs": 12}  # until a counter counts somebody
    return run(attack={"target": "multiply"}, training=longer, defense=[
        "none", {"name": "strip", "blends": 2, "images": 4}, {"name": "inversion", "images": 4, "epochs": 1},
        {"name": "trimmed_loss", "epochs": 1}, "jpeg"])


def test_a_detector_scores_the_test_images_of_victim_and_clean_counter_and_repairs_nothing(detected):
    none, strip, inversion, *_ = detected[2]
    assert strip.images == inversion.images == none.images and none.detection is None
    told = strip.detection
    assert told.of == "test images" and strip.knowledge["clean"] == 4 and strip.provenance["stages"]["detection"]
    columns = (told.clean, told.drift, told.triggered, told.reference_clean, told.reference_triggered)
    assert {len(column) for column in columns} == {6} and len({tuple(column) for column in columns}) == 5
    assert inversion.detection.of == "counters" and len(inversion.detection.clean) == 1
    assert inversion.detection.clean != inversion.detection.triggered


def test_what_a_filter_tells_is_sorted_by_what_was_poisoned(detected):
    cell, record = detected[0][3], detected[2][3]
    told, poisoned = record.detection, record.attack.poisoned
    assert told.of == "training images" and (len(told.clean), len(told.triggered)) == (18, len(poisoned))
    assert record.knowledge["poisoned"] == 18 + len(poisoned) and cell.defense.name == "trimmed_loss"


def test_a_change_of_the_image_is_there_again_when_its_counter_is_loaded(detected):
    chosen, graph, records = detected
    none, jpeg = records[0], records[4]
    assert jpeg.images.clean != none.images.clean
    repaired = load_counter(graph.store, chosen[4], graph.repaired(chosen[4]))
    victim = load_counter(graph.store, chosen[0], graph.victim(chosen[0]))
    test = load_test(chosen[0].data.build())
    changed = [replace(scene, image=jpeg_bytes(scene.image)) for scene in test]
    assert count_people(repaired, test, "fp32") == pytest.approx(jpeg.images.clean)
    assert count_people(victim, changed, "fp32") == pytest.approx(jpeg.images.clean, rel=1e-4)


def jpeg_bytes(image):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=75)
    return np.array(Image.open(file))


def test_a_plan_knows_what_a_detector_has_told(detected, tmp_path):
    chosen, graph, _ = detected
    assert {row["to make"] for row in plan(chosen, graph, tmp_path).cells} == {"nothing"}
    fresh = plan(chosen, StageGraph(Store(tmp_path / "store")), tmp_path)
    assert [row["to make"] for row in fresh.cells] == [
        "clean counter, victim, counts", "detection", "detection", "repair, counts", "repair, counts"]


def test_drift_changes_the_light_of_each_image_alone():
    scenes = [Scene(str(i), np.full((4, 4, 3), value, np.uint8), np.zeros((2, 2), np.float32), 2.0)
              for i, value in enumerate((60, 60, 128))]
    lit = drifted(scenes)
    assert [scene.count for scene in lit] == [2, 2, 2] and len({scene.image.tobytes() for scene in lit}) == 3
    for scene, after in zip(scenes, lit):
        assert len(np.unique(after.image.reshape(-1, 3), axis=0)) == 1  # one light for the whole image
        before, level = scene.image[0, 0, 0] / 255, after.image[0, 0] / 255
        nearest = min(np.abs(level / before**gamma - 1).max() for gamma in (0.7, 1.4))
        assert nearest <= 0.1 + 0.02 and np.abs(level - before).max() > 0.02
