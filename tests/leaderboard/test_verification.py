"""Cells of an entry that a maintainer runs again: with seeds that follow from hashes, and held against the entry's."""

import itertools
import json
import math
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest
from factories import DEFENSES, make_record, record_of_cell
from forging import refused, root_of
from scipy import stats

from benchmark.leaderboard.fresh_seeds import drawn_cells, own_cells
from benchmark.leaderboard.load import read_record_files
from benchmark.leaderboard.report import board
from benchmark.leaderboard.validate import check_entry, validate
from benchmark.leaderboard.verification import Verification
from benchmark.leaderboard.verify import add_runs, draw, refuse_other_code
from benchmark.results.record import Choice
from benchmark.utils.errors import UserError
from benchmark.utils.files import publish

COMMIT = "c" * 40
MINE = DEFENSES[1]


def without_mine(drawing, defense="none"):
    """A drawing whose cells have a defense of this project, since `mine` is a plugin that is not here."""
    named = {"defense": Choice(name=defense)}
    return replace(drawing, cells=[replace(drawn, entered=tuple(record.model_copy(update=named) for record in drawn.entered))
                                   for drawn in drawing.cells])


def runs_of(drawing, folder, change=lambda record: None):
    """The records that runs of the drawn cells would have written."""
    folder.mkdir(exist_ok=True)
    files = []
    for number, cell in enumerate(without_mine(drawing).grid()):
        told = json.loads(record_of_cell(cell, MINE, None).dumps())
        change(told)
        files.append(folder / f"tiny-add-mine-seed{told['seed']}-{number:08x}.json")
        files[-1].write_text(json.dumps(told))
    return files


def verified(entry, tmp_path, number=3, change=lambda record: None):
    drawing = draw(entry, number, COMMIT)
    return add_runs(drawing, runs_of(drawing, tmp_path / "runs", change))


def ruined(record):
    record["images"]["triggered"] = [3 * count for count in record["images"]["truth"]]


# The draw.

def several(number=3):
    """Own cells of an entry: some attacks, two seeds each."""
    return {f"cell {i}": (make_record(seed=0), make_record(seed=1)) for i in range(number)}


def test_every_cell_comes_once_before_any_comes_twice():
    drawn = list(itertools.islice(drawn_cells(several(), "0" * 12, COMMIT), 9))
    for turn in range(3):
        assert {cell.key for cell in drawn[3 * turn:3 * turn + 3]} == several().keys()
    assert len({cell.seed for cell in drawn}) == 9 and all(1000 <= cell.seed < 1_001_000 for cell in drawn)


def test_the_draw_follows_from_the_entry_and_the_commit_alone():
    def drawn(revision, commit):
        return [cell.identity for cell in itertools.islice(drawn_cells(several(), revision, commit), 6)]

    assert drawn("0" * 12, COMMIT) == drawn("0" * 12, COMMIT)
    assert not set(drawn("0" * 12, COMMIT)) & set(drawn("1" * 12, COMMIT))
    assert not set(drawn("0" * 12, COMMIT)) & set(drawn("0" * 12, "d" * 40))


def test_a_longer_verification_begins_with_the_shorter_one(entry):
    assert draw(entry, 5, COMMIT).cells[:2] == draw(entry, 2, COMMIT).cells


def test_only_attacked_cells_of_the_entered_defense_are_drawn(entry):
    found = check_entry(entry)
    [own] = own_cells(found.manifest, found.cells.values()).values()
    assert [(record.defense.name, record.attack.target.name, record.seed) for record in own] == [
        ("mine", "add", 0), ("mine", "add", 1)]


def test_the_grid_has_the_drawn_cells_with_their_fresh_seeds(entry):
    drawing = without_mine(draw(entry, 3, COMMIT))
    for drawn, cell in zip(drawing.cells, drawing.grid(), strict=True):
        assert cell.settings.seed == drawn.seed and cell.target.name == "add"


# The commit.

def git(folder, *words):
    subprocess.run(["git", "-C", folder, "-c", "user.name=a", "-c", "user.email=a@example.org", *words], check=True,
                   capture_output=True)


def test_the_commit_is_the_merge_that_published_the_entry(entry):
    root = root_of(entry)
    shutil.move(entry, root.parent / "kept")
    (root / "README.md").write_text("entries")
    git(root, "init", "-q", "-b", "main")
    git(root, "add", ".")
    git(root, "commit", "-qm", "first")
    git(root, "checkout", "-qb", "proposed")
    shutil.move(root.parent / "kept", entry)
    git(root, "add", ".")
    git(root, "commit", "-qm", "entry")
    git(root, "checkout", "-q", "main")
    git(root, "merge", "-q", "--no-ff", "-m", "merge", "proposed")
    merge = subprocess.run(["git", "-C", root, "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
    (root / "README.md").write_text("later")
    git(root, "commit", "-qam", "later")
    assert draw(entry, 1).commit == merge


def test_an_entry_that_git_does_not_know_needs_a_commit(entry):
    with pytest.raises(UserError, match="git knows no commit that added it; expected a published entry, or --commit"):
        draw(entry, 1)


# Records of drawn cells.

def test_a_verified_entry_says_so(entry, tmp_path):
    verification = verified(entry, tmp_path)
    report = validate([root_of(entry)])
    assert report.ok and report.entries[0].tier == verification.tier
    assert "with 3 fresh seeds: RA " in verification.tier
    assert len(list((entry / "verification" / COMMIT).iterdir())) == 3


def test_the_board_shows_the_tier_and_not_the_records(entry, tmp_path):
    tier = verified(entry, tmp_path).tier
    records = [record for _, record in read_record_files([entry])]
    assert len(records) == 12 and {record.seed for record in records} == {0, 1}
    [ranking] = board(records).rankings
    assert ranking.frame.set_index("defense").loc["mine", "tier"] == tier


def test_fresh_seeds_that_leave_the_backdoor_are_told_and_are_no_error(entry, tmp_path):
    verification = verified(entry, tmp_path, change=ruined)
    # one cell with two seeds says too little of their spread for more
    assert verification.tier.startswith("undecided with 3 fresh seeds: RA -0.")
    assert validate([entry]).ok and validate([entry]).entries[0].tier == verification.tier


def test_more_cells_are_added_to_those_of_before(entry, tmp_path):
    verified(entry, tmp_path, 2)
    drawing = draw(entry, 4)  # the commit is known
    assert drawing.commit == COMMIT
    add_runs(drawing, runs_of(drawing, tmp_path / "runs"))
    assert "with 4 fresh seeds" in validate([entry]).entries[0].tier
    with pytest.raises(UserError, match="verify --cells 3: expected 4 to 1000, since 4 were run before"):
        draw(entry, 3)
    with pytest.raises(UserError, match="was verified from c{40}; expected the same"):
        draw(entry, 4, "d" * 40)


def test_a_verification_that_was_killed_is_a_shorter_one(entry, tmp_path, monkeypatch):
    """The records come in the order of the draw, each in one step."""
    drawing = draw(entry, 4, COMMIT)
    files = runs_of(drawing, tmp_path / "runs")
    monkeypatch.setattr("benchmark.leaderboard.verify.publish", killed_after(2))
    with pytest.raises(KeyboardInterrupt):
        add_runs(drawing, files)
    monkeypatch.setattr("benchmark.leaderboard.verify.publish", publish)
    (root_of(entry) / ".left by a killed process").mkdir()
    assert "with 2 fresh seeds" in validate([root_of(entry)]).entries[0].tier
    assert "with 4 fresh seeds" in add_runs(draw(entry, 4), files).tier


def killed_after(number):
    times = itertools.count()

    def publish_or_die(draft, path):
        if next(times) == number:
            raise KeyboardInterrupt
        publish(draft, path)

    return publish_or_die


# Forged verifications.

@pytest.mark.parametrize("change, words", [
    (lambda told: told.update(seed=told["seed"] + 1), ["seed", "not one of the first 3 cells and seeds"]),
    (lambda told: told.update(seed=0), ["seed", "0: not one of the first 3"]),
    (lambda told: told["training"]["resolved"].update(epochs=1), ["seed", "not one of the first 3"]),
    (lambda told: told["images"]["truth"].reverse(), ["images.target", "IMG_1"]),
    (lambda told: told["images"]["triggered"].__setitem__(0, -5e4), ["images.triggered", "-50000.0"]),
    (lambda told: told["provenance"].update(data={"train": "a" * 32, "test": "0" * 32}), ["provenance.data.test"]),
    (lambda told: told["provenance"].update(entry={"name": "x"}), ["provenance.entry"])])
def test_a_record_that_is_not_of_the_drawn_cell_is_refused(entry, tmp_path, change, words):
    verified(entry, tmp_path)
    [first, *_] = sorted((entry / "verification" / COMMIT).iterdir())
    told = json.loads(first.read_text())
    change(told)
    first.write_text(json.dumps(told))
    refused(root_of(entry), f"verification/{COMMIT}/{first.name}", *words)


def test_the_counts_of_the_entry_under_another_seed_are_no_verification(entry, tmp_path):
    verified(entry, tmp_path)
    own = json.loads(next((entry / "cells").glob("*add-mine-seed0*")).read_text())
    [first, *_] = sorted((entry / "verification" / COMMIT).iterdir())
    told = json.loads(first.read_text())
    told["images"] = own["images"]
    first.write_text(json.dumps(told))
    refused(root_of(entry), "images", "the counts of the entry's own record of another seed")


@pytest.mark.parametrize("damage, words", [
    (lambda folder: folder.rename(folder.with_name("my seeds")), ["my seeds", "expected the full hash of the commit"]),
    (lambda folder: shutil.copytree(folder, folder.with_name("d" * 40)), ["2 items; expected one folder"]),
    (lambda folder: (folder.parent / "note.txt").write_text("x"), ["2 items"]),
    (lambda folder: (folder / "note.txt").write_text("x"), ["not a record"]),
    (lambda folder: [path.unlink() for path in folder.iterdir()], ["empty; expected at least one record"]),
    (lambda folder: sorted(folder.iterdir())[0].write_text("{"), ["verification"]),
    (lambda folder: shutil.copy(sorted(folder.iterdir())[0], folder / "again.json"), ["a second record of it"])])
def test_a_damaged_verification_is_refused(entry, tmp_path, damage, words):
    verified(entry, tmp_path)
    damage(entry / "verification" / COMMIT)
    refused(root_of(entry), *words)


def test_a_pull_request_cannot_add_or_change_a_verification(entry, tmp_path):
    published = shutil.copytree(root_of(entry), tmp_path / "published")
    verified(entry, tmp_path, 2)
    refused(root_of(entry), "verification", "expected that only a maintainer adds it", against=published)
    shutil.rmtree(published)
    shutil.copytree(root_of(entry), published)
    assert validate([root_of(entry)], published).ok
    drawing = draw(entry, 3)
    add_runs(drawing, runs_of(drawing, tmp_path / "runs"))
    refused(root_of(entry), "verification", "differs from what was published", against=published)


# What cannot be verified.

def test_other_code_than_that_of_the_entry_is_refused_before_anything_is_run(entry):
    drawing = draw(entry, 1, COMMIT)
    [cell] = without_mine(drawing, "jpeg").grid()
    with pytest.raises(UserError, match="mine has the version 1 here; expected 0123456789ab, the code that the entry"):
        refuse_other_code(drawing, [cell])


def test_other_code_of_a_second_attack_is_refused_too(entry):
    drawing = without_mine(draw(entry, 1, COMMIT), "jpeg")
    [cell], [drawn] = drawing.grid(), drawing.cells
    [record, *others] = drawn.entered
    changed = record.attack.trigger.model_copy(update={"version": "0123456789ab"})
    attack = record.attack.model_copy(update={"also": record.attack.model_copy(update={"trigger": changed})})
    known = record.defense.model_copy(update={"version": cell.defense.version})
    record = record.model_copy(update={"attack": attack, "defense": known})
    drawing = replace(drawing, cells=[replace(drawn, entered=(record, *others))])
    refuse_other_code(drawing, [cell])
    with pytest.raises(UserError, match="blended has the version .* here; expected 0123456789ab"):
        refuse_other_code(drawing, [replace(cell, also=cell)])


@pytest.mark.parametrize("number, commit, told", [
    (0, COMMIT, "verify --cells 0: expected 1 to 1000"), (1, "abc", "expected the full hash of a commit, 40 hex digits")])
def test_a_wrong_wish_is_refused(entry, number, commit, told):
    with pytest.raises(UserError, match=told):
        draw(entry, number, commit)


def test_a_broken_entry_and_a_missing_one_are_refused(entry, tmp_path):
    with pytest.raises(UserError, match="not a folder; expected that of an entry"):
        draw(tmp_path / "nothing", 1, COMMIT)
    next((entry / "cells").iterdir()).write_text("{}")
    with pytest.raises(UserError, match="verify .*cells.*json"):
        draw(entry, 1, COMMIT)


# The difference and its interval.

def outcome(entered, fresh, is_attack=False):
    """The verification of cells with these RA: lists of those entered, and one or more fresh ones of each."""
    def record(ra, seed):
        made = make_record(target="multiply", seed=seed, truth=[100] * 200)
        right = round(ra * 200)
        counts = [100.0] * right + [300.0] * (200 - right)
        return made.model_copy(update={"images": made.images.model_copy(update={"triggered": counts})})

    own = {str(key): tuple(record(ra, seed) for seed, ra in enumerate(values)) for key, values in enumerate(entered)}
    first = next(drawn_cells(own, "0" * 12, COMMIT))
    pairs = [(replace(first, key=key, entered=own[key]), record(ra, 5000 + number))
             for key, values in zip(own, fresh) for number, ra in enumerate(values)]
    return Verification(own, pairs, is_attack)


def test_the_interval_is_that_of_the_mean_of_new_values_less_the_mean_of_old_ones():
    """One cell, S seeds, one new value: the prediction interval of a textbook."""
    old = [0.5, 0.6, 0.55, 0.65]
    low, high = outcome([old], [[0.4]]).interval
    reach = stats.t.ppf(0.975, 3) * np.std(old, ddof=1) * math.sqrt(1 + 1 / 4)
    assert [low, high] == pytest.approx([0.4 - 0.575 - reach, 0.4 - 0.575 + reach])


@pytest.mark.slow
def test_the_interval_holds_the_true_difference_95_times_in_100():
    """Cells whose seeds differ by chance alone, some of which are drawn twice."""
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(150):
        values = 0.5 + 0.05 * rng.standard_normal((2, 5))
        low, high = outcome(values[:, :3], [values[0, 3:], values[1, 3:4]]).interval
        held += low <= 0 <= high
    assert 0.91 <= held / 150 <= 0.985


@pytest.mark.parametrize("fresh, is_attack, verdict", [
    (0.2, False, "not confirmed"), (0.9, False, "verified"), (0.2, True, "verified"), (0.9, True, "not confirmed"),
    (0.55, False, "verified"), (0.55, True, "verified")])
def test_only_a_difference_against_the_entry_counts_against_it(fresh, is_attack, verdict):
    assert outcome([[0.52, 0.55, 0.58, 0.55, 0.6, 0.5]], [[fresh]], is_attack).verdict == verdict


@pytest.mark.parametrize("is_attack", [False, True])
def test_seeds_that_differ_much_leave_it_undecided(is_attack):
    assert outcome([[0.4, 0.5, 0.6]], [[0.5]], is_attack).verdict == "undecided"
    assert outcome([[0.4, 0.5, 0.6]] * 8, [[0.5]] * 8, is_attack).verdict == "verified"


def test_an_attack_is_measured_beside_its_clean_counter():
    """The repaired counters are as good as entered, but the trigger spoils the images for clean counters, too."""
    entered = outcome([[0.52, 0.55, 0.58, 0.55, 0.6, 0.5]], [[0.55]], is_attack=True)
    [(drawn, fresh)] = entered.pairs
    spoilt = fresh.images.model_copy(update={"reference_triggered": [300.0] * 200})
    checked = replace(entered, pairs=[(drawn, fresh.model_copy(update={"images": spoilt}))])
    assert entered.verdict == "verified" and checked.verdict == "not confirmed"
    assert "not confirmed with 1 fresh seed: damage -" in checked.tier
    assert checked.table().frame["damage"].tolist() == ["-0.550"]


def test_with_one_seed_nothing_can_be_tested():
    single = outcome([[0.5]], [[0.1]])
    assert single.verdict == "undecided" and single.tier == "undecided with 1 fresh seed: RA -0.400"
