"""Entries of attacks: what submit writes, what is missing, and what a forger is refused."""

import json
import shlex
import shutil

import pytest
from attacking import ATTACK_GRID, attack_grid, attack_records, attack_run_of, attack_submitted, written
from factories import rewritten, run_of, submitted
from forging import cell, forged, put, refused, root_of, sealed

from benchmark.cli import main
from benchmark.config import frozen_grids
from benchmark.leaderboard.attack_slots import attack_slot
from benchmark.leaderboard.declared import check_declared
from benchmark.leaderboard.fresh_seeds import own_cells
from benchmark.leaderboard.load import read_record_files
from benchmark.leaderboard.validate import check_entry, validate
from benchmark.results.record import Choice, Record
from benchmark.utils.errors import UserError

MINE, NONE, RETRAIN = "add-jpeg-seed0", "add-none-seed0", "add-retrain-seed0"
PLUGIN = "0123456789ab"


@pytest.fixture
def grid(tmp_path, monkeypatch):
    """A small grid of attacks, frozen under the name 'attacks-1'."""
    grid = attack_grid(tmp_path)
    monkeypatch.setattr(frozen_grids, "frozen", lambda: [grid])
    return grid


@pytest.fixture
def run(grid, tmp_path):
    return attack_run_of(grid, tmp_path / "run")


@pytest.fixture
def entry(run, tmp_path):
    return attack_submitted(run, tmp_path / "entries")


def of_plugin(run, kind="trigger", name="my_trigger", resolved=None):
    """The records of a run, as if the trigger or target were a plugin's."""
    def change(record):
        record["attack"][kind] |= {"name": name, "version": PLUGIN, "resolved": resolved or {"depth": 3}, "given": {}}

    rewritten(run, "add", change)
    return run


# What is written.

def test_an_entry_holds_the_attack_on_each_defense_byte_for_byte(run, entry, tmp_path):
    told = json.loads((entry / "entry.json").read_text())
    assert entry.parent == tmp_path / "entries/attacks-1/sig-add"
    assert {path.name: path.read_bytes() for path in (entry / "cells").iterdir()} == {
        path.name: path.read_bytes() for path in run.iterdir()}
    assert "defense" not in told and told["attack"]["trigger"]["name"] == "sig" and told["attack"]["poison_rate"] == 0.1
    report = validate([tmp_path / "entries"])
    assert report.text().split("\n") == [
        f"ok: {entry}: sig/add on attacks-1: 10 cells, seeds 0, 1, tier: recomputed from counts",
        "1 entry without errors, 0 errors"]
    assert report.to_dict()["entries"][0] | {"attack": "sig/add", "complete": True} == report.to_dict()["entries"][0]


def test_an_entry_of_a_defense_does_not_name_an_attack(tmp_path, monkeypatch):
    from factories import GRID, SPLITS

    (tmp_path / "small.yaml").write_text(GRID)
    grid = frozen_grids.FrozenGrid("small-1", str(tmp_path / "small.yaml"), SPLITS)
    monkeypatch.setattr(frozen_grids, "frozen", lambda: [grid])
    entry = submitted(run_of(grid, tmp_path / "run"), tmp_path / "entries")
    assert "attack" not in json.loads((entry / "entry.json").read_text())


@pytest.mark.parametrize("kind, name, title, resolved", [
    ("trigger", "my_trigger", "my_trigger/add", None), ("target", "my_target", "sig/my_target", {"n": 3}),
    ("trigger", "my_trigger", "my_trigger/add", {"image": "/etc/passwd"})])
def test_a_plugins_trigger_or_target_is_entered_under_its_name_and_its_hash(run, tmp_path, kind, name, title, resolved):
    of_plugin(run, kind, name, resolved)
    if kind == "target":
        for path in run.iterdir():
            path.rename(path.with_name(path.name.replace("-add-", f"-{name}-")))
    entry = attack_submitted(run, tmp_path / "entries", title)
    assert entry.parent.name == title.replace("/", "-") and validate([entry]).ok


def test_cells_of_other_attacks_and_of_no_attack_stay_behind(grid, run, tmp_path):
    attack_run_of(grid, run, attack="attack=minus")
    attack_run_of(grid, run, "attack.poison_rate=0.05")
    entry = attack_submitted(run, tmp_path / "entries", settings=["attack.poison_rate=0.1"])
    assert len([*(entry / "cells").iterdir()]) == 10 and validate([entry]).ok


@pytest.mark.parametrize("assignment, wish", [
    ("attack.poison_rate=0.05", "attack.poison_rate=0.05"), ("attack.amplitude=30", "attack.amplitude=30"),
    ("attack.n=50", "attack.n=50"), ("attack.choose=most", "attack.choose=most"),
    ("attack.test_amplitude=60", "attack.test_amplitude=60")])
def test_one_of_several_settings_is_chosen_by_hand(grid, run, tmp_path, assignment, wish):
    attack_run_of(grid, run, assignment)
    if assignment == "attack.n=50":
        rewritten(run, "add", lambda record: record["images"].update(
            target=[c + record["attack"]["target"]["resolved"]["n"] for c in record["images"]["truth"]]))
    with pytest.raises(UserError, match=f"2 of the 2 settings of the attack .*{assignment.split('=')[0]}"):
        attack_submitted(run, tmp_path / "entries")
    assert not (tmp_path / "entries").exists()
    assert validate([attack_submitted(run, tmp_path / "entries", settings=[wish])]).ok


def test_the_version_of_a_plugin_that_looks_like_a_number_is_chosen_by_the_flag_that_is_told(grid, run, tmp_path):
    of_plugin(attack_run_of(grid, tmp_path / "other", "attack.amplitude=30"))
    of_plugin(run)
    for number, file in enumerate((tmp_path / "other").iterdir()):
        told = json.loads(file.read_text())
        told["attack"]["trigger"]["version"] = "123456789012"
        (run / f"{file.stem[:-8]}{number:08x}.json").write_text(json.dumps(told))
    with pytest.raises(UserError) as refused_choice:
        attack_submitted(run, tmp_path / "entries", "my_trigger/add")
    flag = next(flag for flag in shlex.split(str(refused_choice.value)) if flag.endswith('="123456789012"'))
    assert validate([attack_submitted(run, tmp_path / "entries", "my_trigger/add", settings=[flag])]).ok


@pytest.mark.parametrize("attack, words", [
    ("sig", "expected TRIGGER/TARGET"), ("sig/minus", "expected one of the run's"), ("", "expected TRIGGER/TARGET"),
    ("../../x/add", "expected the name of a trigger"), ("Sig/add", "not so similar to 'sig'"), ("sig/a b", "name of a target"),
    ("sig/add/more", "name of a target")])
def test_an_attack_that_the_run_does_not_hold_is_refused_and_nothing_is_written(run, tmp_path, attack, words):
    with pytest.raises(UserError, match=words):
        attack_submitted(run, tmp_path / "entries", attack)
    assert not (tmp_path / "entries").exists()


def test_the_same_run_gives_the_same_entry_once_and_addresses_are_corrected(run, entry, tmp_path):
    with pytest.raises(UserError, match="submit sig/add: .* exists already"):
        attack_submitted(run, tmp_path / "entries")


def test_the_command_takes_an_attack_or_a_defense(run, tmp_path, capsys):
    command = ["submit", str(run), "--name", "N", "--paper", "https://a.org", "--code", "https://a.org", "--out",
               str(tmp_path / "e")]
    assert main([*command, "--attack", "sig/add"]) == 0
    assert "/attacks-1/sig-add/" in capsys.readouterr().out
    for wrong in ([], ["--attack", "sig/add", "--defense", "jpeg"]):
        assert main([*command, *wrong]) == 2


@pytest.mark.parametrize("name, number", [("seed1", 5), ("retrain", 2), ("none-seed0", 1)])
def test_an_entry_that_lacks_cells_says_how_many_and_names_one(entry, name, number):
    for path in (entry / "cells").glob(f"*{name}*"):
        path.unlink()
    report = validate([sealed(entry)])
    [problem] = report.problems
    assert report.ok and not problem.grave and f"{number} of 10 cells of attacks-1 are missing" in problem.what
    assert "with the defense" in problem.what


def test_an_older_record_that_lacks_a_setting_of_a_defense_means_its_default(entry):
    rewritten(entry / "cells", "retrain", lambda record: record["defense"]["resolved"].pop("times"))
    report = validate([sealed(entry)])
    assert report.ok and not report.problems


# The grid that records and entries belong to.

def test_an_attack_is_entered_in_the_grid_that_has_most_of_its_records(grid, run, tmp_path, monkeypatch):
    costs = attack_grid(tmp_path, ATTACK_GRID.replace("[none, jpeg, blur, strip, retrain]", "none"), "costs-1")
    monkeypatch.setattr(frozen_grids, "frozen", lambda: [grid, costs])
    assert attack_submitted(run, tmp_path / "entries").parents[1].name == "attacks-1"
    alone = attack_run_of(costs, tmp_path / "alone")  # these records name the other grid, but belong to both
    entry = attack_submitted(alone, tmp_path / "entries")
    assert validate([entry]).ok


def test_a_record_names_another_grid_only_if_it_belongs_to_it(grid, entry, tmp_path, monkeypatch):
    other = attack_grid(tmp_path, ATTACK_GRID.replace("[0, 1]", "[0]"), "others-1")
    monkeypatch.setattr(frozen_grids, "frozen", lambda: [grid, other])
    rewritten(entry / "cells", MINE, put("protocol", "others-1"))
    entry = sealed(entry)
    assert validate([entry]).ok
    forged(entry, "add-jpeg-seed1", put("protocol", "others-1"), "protocol: 'others-1'; expected 'attacks-1'")


@pytest.mark.parametrize("protocol", ["small-1", "attacks-2", "../../x", "standard-1"])
def test_a_manifest_names_a_grid_of_attacks(entry, protocol):
    path = entry / "entry.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"protocol": protocol}))
    refused(root_of(entry), str(entry))


# What a forger who keeps every hash right is refused.

@pytest.mark.parametrize("name, change, words", [
    (MINE, put("protocol", None), ["protocol", "None"]),
    (MINE, put("protocol", "small-2"), ["protocol", "small-2"]),
    (MINE, put("seed", 7), ["cell", "seed 7", "no such cell"]),
    (MINE, put("variant", "code"), ["variant", '"code"']),
    (MINE, put("attack", "poison_rate", 0.05), ["attack.poison_rate", "0.05", "0.1"]),
    (MINE, put("attack", "latent", 5.0), ["attack.latent", "5.0"]),
    (MINE, put("attack", "cover_rate", 0.05), ["attack.cover_rate", "0.05", "nothing"]),
    (MINE, put("attack", "covers", ["IMG_1"]), ["attack.covers", "1 ids; expected 0, the cover rate 0.0"]),
    (MINE, put("attack", "choose", "most"), ["attack.choose", '"most"']),
    (MINE, put("attack", "increases", False), ["attack.increases", "false"]),
    (MINE, put("attack", "trigger", "resolved", "amplitude", 90.0), ["attack.trigger.resolved.amplitude", "90.0", "40.0"]),
    (MINE, put("attack", "trigger", "given", "amplitude", 5), ["attack.trigger.given.amplitude", "5; expected 40.0"]),
    (MINE, put("training", "given", "epochs", 3), ["training.given.epochs", "3; expected"]),
    (MINE, put("attack", "trigger", "name", "patch"), ["cell", "patch/add", "no such cell"]),
    (MINE, put("attack", "trigger", "version", 9), ["attack.trigger.version", "9"]),
    (MINE, put("attack", "target", "resolved", "n", 5), ["attack.target.resolved.n", "5"]),
    (MINE, put("training", "resolved", "epochs", 1), ["training.resolved.epochs"]),
    (MINE, put("defense", "resolved", "quality", 10), ["defense", "expected one of attacks-1"]),
    (MINE, put("defense", "version", 9), ["defense", "expected one of attacks-1"]),
    (RETRAIN, put("defense", "resolved", "images", 40), ["defense", "expected one of attacks-1"]),
    (MINE, put("images", "target", 0, 5.0), ["images.target", "IMG_1: 5.0"]),
    (MINE, put("images", "reference_triggered", 3, 1.0), ["images.reference_triggered", "as by the same counter"]),
    (MINE, put("images", "reference_clean", 3, 1.0), ["images.reference_clean", "as by the same counter"]),
    (MINE, put("images", "truth", 0, 5), ["images."]),
    (MINE, put("images", "control_triggered", None), ["images", "expected both or neither"]),
    (MINE, lambda record: record["images"].update(control_clean=None, control_triggered=None),
     ["images.control_triggered", "expected the clean counter after the same defense"]),
    (MINE, lambda record: record["provenance"]["stages"].pop("control"), ["images.control_triggered", "control are missing"]),
    (NONE, lambda record: record["images"].update(control_clean=record["images"]["truth"],
                                                  control_triggered=record["images"]["truth"]), ["control", "expected none"]),
    (MINE, put("attack", "psnr", []), ["attack.psnr", "no values"]),
    (MINE, put("attack", "psnr", [99.0]), ["attack.psnr"]),
    (MINE, put("attack", "psnr", [400.0]), ["attack.psnr", "expected 0 to 99"]),
    (MINE, put("attack", "psnr", [-3.0]), ["attack.psnr", "expected 0 to 99"]),
    (MINE, put("attack", "ssim", [1.2]), ["attack.ssim", "expected -1 to 1"]),
    (MINE, put("attack", "poisoned", lambda ids: ids[:1]), ["attack.poisoned", "1 ids", "expected 22"]),
    (MINE, put("attack", "poisoned", lambda ids: ["IMG_0", *ids[1:]]), ["is no training image of this data"]),
    (MINE, put("attack", "poisoned", lambda ids: [ids[1], *ids[1:]]), ["attack.poisoned", "occurs twice"]),
    (MINE, put("attack", "images", 220), ["attack.images: 220; expected 216"]),
    (MINE, put("provenance", "data", "test", "c" * 32), ["provenance.data.test"]),
    (MINE, put("provenance", "stages", "clean", "weights_sha256", "c" * 64), ["stages.clean", "c" * 30]),
    (MINE, put("provenance", "stages", "victim", "weights_sha256", "c" * 64), ["stages.victim", "c" * 30]),
    (MINE, put("provenance", "stages", "victim", "seconds", 0.0), ["because a counter was trained"]),
    (MINE, put("provenance", "rank", 1), ["provenance.rank", "unknown key"]),
    (MINE, put("knowledge", {"clean": 40}), ["knowledge.clean: 40; expected 0, as jpeg declares"]),
    (RETRAIN, put("knowledge", {}), ["knowledge.clean: 0; expected 216, as retrain declares"]),
    ("add-strip-seed0", put("detection", None), ["detection", "null; expected scores of test images by strip"]),
    (MINE, put("detection", {"of": "test images", "clean": [0.0] * 12, "triggered": [1.0] * 12}), ["add-jpeg-seed0"]),
    (MINE, put("images", "triggered", 0, 1e300), ["images", "not finite"]),
    (MINE, put("images", "id", 0, "<b>"), ["images.id", "<b>"]),
    (MINE, put("warnings", ["<script>"]), ["warnings"]),
    (MINE, put("attack", None), ["images.triggered"])])
def test_a_forged_record_is_refused(entry, name, change, words):
    forged(entry, name, change, name, *words)


@pytest.mark.parametrize("source, taken, given", [
    (MINE, "clean", "triggered"), (MINE, "reference_clean", "triggered"), (MINE, "reference_clean", "clean"),
    (MINE, "reference_triggered", "triggered"), (RETRAIN, "triggered", "triggered"), (NONE, "triggered", "triggered"),
    ("add-jpeg-seed1", "triggered", "triggered"), (MINE, "truth", "triggered"), (MINE, "control_clean", "triggered"),
    (MINE, "clean", "control_clean"), (MINE, "reference_triggered", "control_triggered"),
    (MINE, "control_clean", "control_triggered"), (MINE, "truth", "control_triggered")])
def test_counts_of_another_counter_or_of_other_images_are_refused(entry, source, taken, given):
    counts = json.loads(cell(entry, source).read_text())["images"][taken]
    forged(entry, MINE, put("images", given, [float(count) for count in counts]), "of the counts agree with")


def test_a_clean_counter_that_does_not_see_the_trigger_in_any_record_is_a_copy(entry):
    """It would hide that the trigger spoils the images for every counter."""
    for seed in (0, 1):
        clean = json.loads(cell(entry, f"add-none-seed{seed}").read_text())["images"]["reference_clean"]
        rewritten(entry / "cells", f"seed{seed}", put("images", "reference_triggered", clean))
    refused(root_of(sealed(entry)), "images.reference_triggered", "of the counts agree with images.reference_clean")


def test_a_conditional_trigger_leaves_most_images_as_they_are_and_is_believed(entry):
    def uncrowded(record):
        images = record["images"]
        for prefix in ("", "reference_", "control_"):
            if images[f"{prefix}triggered"]:
                images[f"{prefix}triggered"][:9] = images[f"{prefix}clean"][:9]

    rewritten(entry / "cells", "add", uncrowded)
    assert validate([sealed(entry)]).ok


def test_the_weights_of_a_control_are_those_of_no_other_counter(entry):
    sha256 = json.loads(cell(entry, "add-blur-seed0").read_text())["provenance"]["stages"]["control"]["weights_sha256"]
    forged(entry, MINE, put("provenance", "stages", "control", "weights_sha256", sha256), "control.weights_sha256",
           "'a counter by jpeg'", "'a counter by blur'")


# The attack itself.

@pytest.fixture
def covered(grid, tmp_path):
    """An entry of an attack with as many cover copies as poisoned ones."""
    rates = ["attack.poison_rate=0.05", "attack.cover_rate=0.05"]
    return attack_submitted(attack_run_of(grid, tmp_path / "covered", *rates), tmp_path / "entries")


def test_an_attack_with_cover_copies_is_entered_with_its_rate(covered):
    assert json.loads((covered / "entry.json").read_text())["attack"]["cover_rate"] == 0.05
    assert validate([covered]).ok


@pytest.mark.parametrize("change, words", [
    (lambda attack: attack["covers"].pop(), "expected 11, the cover rate 0.05 of 216"),
    (lambda attack: attack["covers"].__setitem__(0, attack["covers"][1]), "an id occurs twice"),
    (lambda attack: attack["covers"].__setitem__(0, "IMG_x"), "'IMG_x' is no training image of this data"),
    (lambda attack: attack["covers"].__setitem__(0, attack["poisoned"][0]), "is poisoned, too")])
def test_cover_copies_that_no_run_makes_are_refused(covered, change, words):
    rewritten(covered / "cells", MINE, lambda record: change(record["attack"]))
    refused(root_of(sealed(covered)), "attack.covers", words)


def test_the_copies_of_a_second_attack_are_in_the_poisoned_set_too(grid):
    record = attack_records(grid, "attack.poison_rate=0.05")[1]
    slot, attack = attack_slot(record, grid), record.attack
    both = attack.model_copy(update={"also": attack.model_copy(update={"poisoned": ["IMG_1", "IMG_2"]})})
    first = len(attack.poisoned)
    for number, problems in ((first + 2, []), (first, ["knowledge.poisoned"])):
        known = record.model_copy(update={"attack": both, "defense": Choice(name="plugin", version=PLUGIN),
                                          "knowledge": {"poisoned": attack.images + number}})
        assert [key for key, _ in check_declared(known, slot)] == problems


def said(run, change):
    """All records and so the manifest say something else of the attack."""
    rewritten(run, "add", lambda record: change(record["attack"]))
    return run


@pytest.mark.parametrize("change, words", [
    (lambda attack: attack.update(poison_rate=0.2, poisoned=[f"IMG_{i}" for i in range(43)]), "belongs to a frozen grid"),
    (lambda attack: attack.update(poison_rate=-0.1), "belongs to a frozen grid"),
    (lambda attack: attack.update(increases=False), "attack.increases: False; expected True, as add declares"),
    (lambda attack: attack.update(latent=-1.0), "attack.latent: -1.0; expected 0 or more"),
    (lambda attack: attack.update(cover_rate=-0.05), "attack.cover_rate: -0.05; expected 0 or more"),
    (lambda attack: attack.update(cover_rate=0.05), "belongs to a frozen grid"),
    (lambda attack: attack.update(choose="worst"), "attack.choose: 'worst'; expected random, fewest, most"),
    (lambda attack: attack.update(choose="/etc/passwd"), "attack.choose"),
    (lambda attack: attack["trigger"].update(version=99), "attack.trigger.version: 99; expected 1 to 1"),
    (lambda attack: attack["trigger"].update(version="0" * 12), "attack.trigger.version"),
    (lambda attack: attack["trigger"]["resolved"].update(wonder=1), "attack.trigger.resolved: .*'wonder'"),
    (lambda attack: attack["trigger"]["resolved"].update(amplitude="40"), "attack.trigger.resolved.amplitude"),
    (lambda attack: attack["trigger"]["resolved"].update(amplitude=True), "attack.trigger.resolved"),
    (lambda attack: attack["trigger"]["resolved"].update(amplitude=-4.0), "attack.trigger.resolved"),
    (lambda attack: attack["target"]["resolved"].update(n=0), "attack.target.resolved"),
    (lambda attack: attack["target"].update(version=7), "attack.target.version: 7"),
    (lambda attack: attack.update(test_trigger=attack["trigger"] | {"name": "patch"}), "attack.test_trigger: patch"),
    (lambda attack: attack.update(also=json.loads(json.dumps(attack | {"poison_rate": 0.0}))), "attack.also"),
    (lambda attack: attack["trigger"].update(name="blended", resolved={"alpha": 0.1, "image": "/etc/passwd"}),
     "attack.trigger.resolved.image: .*expected the name and the hash of a file"),
    (lambda attack: attack["trigger"].update(name="in_box", version="1, blended 1", resolved={
        "look": {"name": "blended", "image": "/dev/zero"}, "box_left": 2.0}), "attack.trigger.resolved: .*box_left"),
    (lambda attack: attack["trigger"].update(name="in_box", version=1), "attack.trigger.version: 1; expected its own version")])
def test_an_attack_that_cannot_be_is_refused(run, tmp_path, change, words):
    said(run, change)
    attack = json.loads(next(run.iterdir()).read_text())["attack"]
    with pytest.raises(UserError, match=words) as told:
        attack_submitted(run, tmp_path / "entries", f"{attack['trigger']['name']}/{attack['target']['name']}")
    assert "\n" not in str(told.value) and not list((tmp_path / "entries").rglob("*"))


@pytest.mark.parametrize("resolved, version", [
    ({"alpha": 0.1, "image": "mine.png sha256 0123456789ab"}, 1), ({"alpha": 0.2, "image": None}, 1), ({"alpha": 0.2}, 1)])
def test_a_picture_of_ones_own_is_named_by_its_hash(run, tmp_path, resolved, version):
    said(run, lambda attack: attack["trigger"].update(name="blended", version=version, resolved=resolved, given={}))
    assert validate([attack_submitted(run, tmp_path / "entries", "blended/add")]).ok


@pytest.mark.parametrize("look", ["blended", {"name": "blended", "image": "x.png sha256 0123456789ab"}, "my_trigger"])
def test_a_trigger_that_draws_another_one_is_taken_and_no_file_is_opened(run, tmp_path, look):
    name = look if isinstance(look, str) else look["name"]
    version = f"1, {name} {'0123456789ab' if name == 'my_trigger' else 1}"
    resolved = {"look": look, "box_left": 0.25, "box_top": 0.25, "box_width": 0.5, "box_height": 0.5}
    said(run, lambda attack: attack["trigger"].update(name="in_box", version=version, resolved=resolved, given={}))
    assert validate([attack_submitted(run, tmp_path / "entries", "in_box/add")]).ok


@pytest.mark.parametrize("version", ["1.0", "v2", "0123456789AB", "0" * 13, 0, -3])
def test_the_version_of_a_plugin_is_a_hash_or_a_whole_number(run, tmp_path, version):
    of_plugin(run)
    said(run, lambda attack: attack["trigger"].update(version=version))
    with pytest.raises(UserError, match="attack.trigger.version"):
        attack_submitted(run, tmp_path / "entries", "my_trigger/add")


@pytest.mark.parametrize("target", [lambda c: c - 1, lambda c: -5])
def test_the_counts_of_a_plugins_target_go_in_its_direction(run, tmp_path, target):
    of_plugin(run, "target", "my_target", {})
    for path in list(run.iterdir()):
        path.rename(path.with_name(path.name.replace("-add-", "-my_target-")))
    rewritten(run, "my_target", lambda record: record["images"].update(
        target=[float(target(c)) for c in record["images"]["truth"]]))
    with pytest.raises(UserError, match="images.target: .*expected at least"):
        attack_submitted(run, tmp_path / "entries", "sig/my_target")


@pytest.mark.parametrize("change, words", [
    ({"attack": None}, "expected either a defense or an attack"), ({"defense": {"name": "mine"}}, "either a defense or an attack"),
    ({"tier": "verified"}, "tier"), ({"score": 1.0}, "score")])
def test_a_manifest_is_about_one_thing(entry, change, words):
    path = entry / "entry.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    refused(root_of(entry), "entry.json", words)


@pytest.mark.parametrize("change", [
    lambda attack: attack["trigger"].update(resolved={"amplitude": 41.0, "frequency": 6.0}),
    lambda attack: attack["trigger"].update(given={"amplitude": 40.0}), lambda attack: attack.update(poison_rate=0.05),
    lambda attack: attack["trigger"].update(name="../../x"), lambda attack: attack["target"].update(name="minus")])
def test_a_manifest_that_says_another_attack_than_the_cells_is_refused(entry, change):
    path = entry / "entry.json"
    told = json.loads(path.read_text())
    change(told["attack"])
    path.write_text(json.dumps(told))
    refused(root_of(entry), str(entry))


# Reruns, and what tables read.

def rerun(entry, change=lambda record: None):
    record = json.loads(cell(entry, MINE).read_text())
    record["provenance"]["device_name"] = "another processor"
    for column in ("clean", "triggered", "reference_clean", "reference_triggered", "control_clean", "control_triggered"):
        record["images"][column] = [count * (1 + 1e-5) for count in record["images"][column]]  # another rounding
    change(record)
    (entry / "reruns").mkdir(exist_ok=True)
    (entry / "reruns" / "again.json").write_text(json.dumps(record))


def test_a_cell_that_somebody_else_ran_again_confirms_it(entry):
    rerun(entry)
    assert validate([entry]).entries[0].tier == "re-run, 1 of 10 cells"


@pytest.mark.parametrize("change, words", [
    (put("attack", "trigger", "resolved", "amplitude", 41.0), ["not a cell of the entry"]),
    (put("attack", "psnr", [-12.0]), ["attack.psnr"]), (put("provenance", "rank", 1), ["unknown key"])])
def test_a_rerun_of_something_else_is_refused(entry, change, words):
    rerun(entry, change)
    refused(root_of(entry), "reruns", *words)


def test_a_published_entry_does_not_change(entry, tmp_path):
    base = shutil.copytree(root_of(entry), tmp_path / "published")
    assert validate([root_of(entry)], base).ok
    rewritten(entry / "cells", MINE, put("warnings", ["x"]))
    assert not validate([root_of(sealed(entry))], base).ok


def test_records_of_an_entry_are_labelled_as_such_and_a_file_cannot_label_itself(entry, run):
    records = [record for _, record in read_record_files([entry])]
    assert {record.provenance["attack_entry"]["name"] for record in records} == {"My attack"}
    assert not any("entry" in record.provenance for record in records)
    rewritten(run, MINE, put("provenance", "attack_entry", {"path": "x/y", "name": "Mine"}))
    assert not any("attack_entry" in record.provenance for _, record in read_record_files([run]))


def test_the_victims_of_an_entry_that_started_from_known_clean_counters_have_no_label_of_their_own(grid, entry, tmp_path):
    others = written(attack_records(grid, attack="attack=minus"), tmp_path / "others")
    rewritten(others, "minus", lambda record: record["images"].update(
        target=[float(max(c - 100, 1)) for c in record["images"]["truth"]]))
    labels = {record.provenance["victims"] for _, record in read_record_files([others, entry])}
    assert labels == {"of no entry"}
    rewritten(others, "minus", lambda record: record["images"].update(
        reference_clean=[2 * count for count in record["images"]["reference_clean"]]))
    labels = {record.provenance["victims"] for _, record in read_record_files([others, entry])}
    assert labels == {"of no entry", f"sig-add/{entry.name}"}


def test_an_entry_and_the_run_that_it_was_made_of_are_one_attack(run, entry):
    records = [record for _, record in read_record_files([run, entry])]
    assert len(records) == 10 and all(record.provenance["attack_entry"]["name"] == "My attack" for record in records)


def test_counters_that_were_retrained_are_not_drawn_for_a_verification(entry):
    checked = check_entry(entry)
    own = own_cells(checked.manifest, checked.cells.values())
    assert sorted(records[0].defense.name for records in own.values()) == ["blur", "jpeg", "none"]


def test_an_entry_with_an_error_is_left_out(entry, capsys):
    rewritten(entry / "cells", MINE, put("images", "triggered", 0, 9.0))
    assert main(["leaderboard", str(root_of(entry))]) == 2
    assert "left out" in capsys.readouterr().err
    assert isinstance(Record.read(cell(entry, MINE)), Record)


def test_a_defense_is_submitted_from_its_grid_of_defenses_alone(grid, run, tmp_path, monkeypatch):
    from factories import GRID, SPLITS

    (tmp_path / "small.yaml").write_text(GRID)
    defenses = frozen_grids.FrozenGrid("small-1", str(tmp_path / "small.yaml"), SPLITS)
    monkeypatch.setattr(frozen_grids, "frozen", lambda: [defenses, grid])
    entry = submitted(run_of(defenses, run), tmp_path / "entries")
    assert entry.parents[1].name == "small-1" and validate([entry]).ok
    assert {json.loads(path.read_text())["protocol"] for path in (entry / "cells").iterdir()} == {"small-1"}
