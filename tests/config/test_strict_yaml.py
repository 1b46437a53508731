"""Settings files are data within limits: whatever they hold, they are read or refused in bounded time."""

import time

import pytest

from benchmark.config.strict_yaml import DEEPEST, InvalidYaml, parse
from benchmark.utils.errors import LONGEST

LETTERS = "abcdefghijkl"


def merges(levels, parts=9):
    """Mappings of which each merges the one before it `parts` times."""
    lines = ["a: &a {k: 1, l: 2}"]
    for before, name in zip(LETTERS, LETTERS[1:levels]):
        lines.append(f"{name}: &{name} {{<<: [{', '.join([f'*{before}'] * parts)}]}}")
    return "\n".join(lines)


@pytest.mark.parametrize("text, value", [
    ("seed: 1\nmodel: {name: tiny}", {"seed": 1, "model": {"name": "tiny"}}),
    ("a: &a {x: 1}\nb: {<<: *a, y: 2}\nc: [*a, *a]", {"a": {"x": 1}, "b": {"x": 1, "y": 2}, "c": [{"x": 1}, {"x": 1}]}),
    ("a: &a {x: 1}\nb: {<<: *a, x: 2}\nc: {<<: {x: &x {y: 1}}, x: *x}", {"a": {"x": 1}, "b": {"x": 2}, "c": {"x": {"y": 1}}}),
    ("a: !!str 2024\nb: '2024'\nc: !!str no", {"a": "2024", "b": "2024", "c": "no"}),
    ("a: 1:30\nb: 010\nc: 0x10\nd: 1_000\ne: 1:30.5\nf: 0b1\ng: 2024_01_15\nh: 0o7",
     {"a": "1:30", "b": "010", "c": "0x10", "d": "1_000", "e": "1:30.5", "f": "0b1", "g": "2024_01_15", "h": "0o7"}),
    ("a: -3\nb: +4\nc: 0\nd: 1.5\ne: -0.25\nf: 1.0e-5\ng: 0.5", {"a": -3, "b": 4, "c": 0, "d": 1.5, "e": -.25, "f": 1e-5, "g": .5}),
    ("\ufeffseed: 1", {"seed": 1}), ("", None),
    ("a: " + "[" * (DEEPEST - 1) + "]" * (DEEPEST - 1), None)])
def test_what_is_within_the_limits_is_read(text, value):
    read = parse(text.encode())
    assert value is None or read == value


@pytest.mark.parametrize("text, message", [
    ("seed: " + "[" * 3000 + "]" * 3000, "line 1: nested too deep; expected at most 20 levels"),
    ("seed: " + "{a: " * 3000 + "1" + "}" * 3000, "line 1: nested too deep"),
    ("- " * 3000 + "x", "line 1: nested too deep"), ("? " * 3000, "line 1: nested too deep"),
    ("seed: [" + "1," * 300_000 + "1]", "more than 200,000 values"),
    ("seed: 1" + ":59" * 100_000, "a value of 300,001 characters; expected at most 4,096"),
    ("a: &a\n  <<: *a\n", "merges itself"), (merges(12), "<< merges more than 200,000 values"),
    ("a: *b", "undefined alias"), ("seed: 0\n---\nseed: 1", "single document"), ("a: \0", "character"),
    ("model: tiny\nseed: 1\nmodel: squeeze", "line 3: key 'model' occurs twice; expected each key once"),
    ("a: [{b: {c: 1, 'c': 2}}]", "line 1: key 'c' occurs twice"), ("{a: 1, <<: {b: 1}, <<: {c: 1}}", "'<<' occurs twice"),
    ("? [a]\n: 1", "unhashable"), ("a: b: c", "line 1"), ("since: 2024-13-01", "month must be in 1..12")])
def test_anything_else_is_refused_in_one_line_and_in_bounded_time(text, message):
    began = time.monotonic()
    with pytest.raises(InvalidYaml, match=message) as refused:
        parse(text)
    assert time.monotonic() - began < 5 and "\n" not in str(refused.value)


@pytest.mark.parametrize("tagged", [
    "!!python/object/apply:os.mkdir ['made']", "!!python/name:os.mkdir", "!own x", "!!set {a, b}", "!!omap [a: 1]",
    "!!pairs [a: 1]", "!!binary aGk=", "!!timestamp x", "!!merge x", "!<x> 1", "!%21 x", "!e!x y", f"!{'t' * 3000} x"])
def test_a_tag_of_anything_but_plain_values_is_refused(tagged, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidYaml, match="tag") as refused:
        parse(f"seed: {tagged}")
    assert not list(tmp_path.iterdir()) and len(str(refused.value)) < LONGEST + 100


@pytest.mark.parametrize("tagged", ["!!int x", "!!int ''", "!!int {a: 1}", "!!float x", "!!bool maybe", "!!map [1]",
                                    "!!seq x", "!!str [a]", f"!!int '{'a b ' * 1000}'"])
def test_a_value_that_does_not_fit_its_tag_is_refused(tagged):
    with pytest.raises(InvalidYaml, match="line 1, column 7") as refused:
        parse(f"seed: {tagged}")
    assert len(str(refused.value)) < 3 * LONGEST
