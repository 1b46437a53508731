"""What a request stands for is counted before it is expanded."""

import time

import pytest

from benchmark.config.axes import MOST_CELLS, check_extent, expand, extent
from benchmark.config.grid import cells
from benchmark.config.request import change, load_request, override, preset_names
from benchmark.utils.errors import UserError


def aliases(levels, make, parts=9):
    """A value of which each level holds the one before it `parts` times, as YAML aliases do."""
    value = "x"
    for _ in range(levels):
        value = make([value] * parts)
    return value


def as_mapping(parts):
    return {f"k{number}": part for number, part in enumerate(parts)}


def holding_itself(make):
    value = make([1])
    if isinstance(value, list):
        value.append(value)
    else:
        value["inner"] = [value]
    return value


@pytest.mark.parametrize("request_", [
    {"seed": [0, 1, 2], "attack": ["none", {"target": ["add", "minus"], "alpha": [0.1, 0.2]}]},
    {"model": [{"name": ["tiny", ["mcnn"]]}, "csrnet"], "training": {"lr": [0.1, 0.2]}}, {}])
def test_the_cells_are_counted_as_they_are_expanded(request_):
    assert extent(request_).choices == len(list(expand(request_)))


@pytest.mark.parametrize("preset", preset_names())
def test_presets_are_far_below_the_limit_and_have_no_value_twice(preset):
    check_extent(load_request(preset))
    assert extent(load_request(preset)).choices < MOST_CELLS / 10


@pytest.mark.parametrize("request_, message", [
    ({"seed": list(range(10_000)), "eval_batch": list(range(10_000))},
     r"100,000,000 cells \(seed 10,000 x eval_batch 10,000\); expected at most 10,000"),
    ({"seed": list(range(MOST_CELLS + 1))}, r"10,001 cells \(seed 10,001\)"),
    ({"attack": {"target": ["add"] * 50, "alpha": [0.1] * 50, "n": [1] * 50}}, r"125,000 cells \(attack 125,000\)"),
    ({"seed": aliases(9, list)}, r"387,420,489 cells \(seed 387,420,489\)"),
    ({key: aliases(9, list) for key in "abcdefg"}, r"about 10\^60 cells \(a 387,420,489 x .* x \.\.\.\)"),
    ({key: aliases(18, list) for key in "abcdefg"}, r"more than 10\^99 cells"),
    ({"seed": aliases(9, lambda parts: [part for part in parts if part != "x"])}, "43,046,721 cells"),
    ({"model": aliases(9, as_mapping)}, "values in all cells together; expected at most 1,000,000"),
    ({"model": {"width": [1] * 5000} | {f"k{number}": 1 for number in range(5000)}}, "values in all cells"),
    ({"seed": holding_itself(list)}, "holds itself"), ({"attack": holding_itself(as_mapping)}, "holds itself"),
    ({"seed": aliases(21, list, parts=1)}, "nested too deep"), ({"a": aliases(3000, list, parts=1)}, "nested too deep"),
    ({"seed": aliases(19, list, parts=1), "a": [aliases(20, list, parts=1)]}, "nested too deep")])
def test_a_grid_without_end_is_refused_in_one_line_and_in_bounded_time(request_, message):
    began = time.monotonic()
    for flags in ([], ["hold_out=0.2"]):  # a flag copies the request
        with pytest.raises(UserError, match=f"settings: .*{message}") as refused:
            cells(override(request_, flags))
        assert "\n" not in str(refused.value) and len(str(refused.value)) < 200
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("flag, message", [
    ("seed=0,1,0", "seed: 0 occurs twice; expected each value of an axis once"),
    ("attack.alpha=0.1,0.1", "attack: .*'alpha': 0.1.* occurs twice"), ("defense=none,none", "defense: 'none' occurs twice")])
def test_a_value_that_occurs_twice_in_an_axis_is_refused(flag, message):
    with pytest.raises(UserError, match=message):
        cells(override({"attack": {"target": "add"}}, [flag]))


@pytest.mark.parametrize("flag, message", [
    ("seed=0,0.0", "seed: 0 and 0.0 make the same record; expected each value of an axis once"),
    ("scale=1,1.0", "scale: 1 and 1.0 make the same record"),
    ("defense=[none, {name: none}]", "defense: 'none' and {'name': 'none'} make the same record"),
    ("defense=[fine_tune, {name: fine_tune, extra: 40}]", "defense: 'fine_tune' and {.*40.*} make the same record"),
    ("model.width=[32, 32.0]", "model: .*32.* and .*32.0} make the same record"),
    ("attack=[{target: add, alpha: 1}, {target: add, alpha: 1.0}]", "attack: .* make the same record"),
    ("attack=[none, {target: add, also: {trigger: patch, target: add}}, {target: add, also: {target: add, trigger: patch}}]",
     "attack: .* make the same record"),
    ("training=[{}, {precision: auto}]", "training: {} and {'precision': 'auto'} make the same record")])
def test_a_value_that_an_axis_writes_in_two_ways_is_refused(flag, message):
    with pytest.raises(UserError, match=message) as refused:
        cells(override({"model": {"name": "tiny"}, "defense": "none"}, [flag]))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("flag, message", [
    ("eval_batch=8,16", "eval_batch: 8 and 16 make the same record; expected each value of an axis once"),
    ("training.compile=true,false", "training: .*True} and .*False} make the same record"),
    ("training.precision=auto,bf16", "training: .*auto.* and .*bf16.* make the same record")])
def test_an_axis_of_what_no_record_depends_on_is_refused(flag, message, monkeypatch):
    monkeypatch.setenv("CROWD_PRECISION", "bf16")
    with pytest.raises(UserError, match=message):
        cells(override({"model": {"name": "tiny"}, "defense": "none"}, [flag]))


def test_a_precision_that_differs_in_repairs_alone_is_another_cell(monkeypatch):
    monkeypatch.setenv("CROWD_PRECISION", "bf16")
    monkeypatch.setenv("CROWD_REPAIRS", "fp32")
    assert len(cells(override({"model": {"name": "tiny"}, "defense": "none"}, ["training.precision=auto,bf16"]))) == 2


def test_flags_may_shorten_an_axis_of_a_file():
    assert len(cells(override({"seed": list(range(20_000))}, ["seed=0"]))) == 1


def test_a_value_from_python_may_not_hold_itself_either():
    with pytest.raises(UserError, match="holds itself"):
        change(change({}, "seed", [0]), "attack", holding_itself(list))
