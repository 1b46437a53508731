"""A message repeats at most 200 characters of a value or a name."""

import pickle
import time
from pathlib import Path

import pytest

from benchmark.utils.errors import LONGEST, UserError, did_you_mean, quoted, shown, unknown_key


def nested(levels):
    value = "x"
    for _ in range(levels):
        value = [value] * 9
    return value


HELD = [1]
HELD.append(HELD)


@pytest.mark.parametrize("value, text", [
    ("tiny", "'tiny'"), (0.1, "0.1"), (None, "None"), (True, "True"), ([0.1, "a"], "[0.1, 'a']"),
    ({"a": 1}, "{'a': 1}"),
    (2**63, str(2**63)), ("a\nb", r"'a\nb'")])
def test_a_short_value_is_quoted_as_python_writes_it(value, text):
    assert quoted(value) == text


@pytest.mark.parametrize("value", [
    "x" * 10**6, "a b " * 10**5, nested(9), {"k" * 999: "v" * 999}, list(range(10**6)), HELD, [10**5000],
    [-(2**10**6)], b"x" * 10**6, Path("x" * 4000), {1: nested(9)}])
def test_a_long_value_is_cut_and_takes_no_time(value):
    began = time.monotonic()
    assert len(quoted(value)) <= LONGEST and time.monotonic() - began < 1


def test_both_ends_of_a_long_name_are_shown():
    path = "/data/" + 500 * "x" + "/settings.yaml"
    assert shown(path).startswith("/data/xxx") and shown(path).endswith("xxx/settings.yaml")
    assert len(shown(path)) <= LONGEST
    assert shown("a\x1b[31m\n") == r"a\x1b[31m\n"


def test_every_message_is_cut_whoever_wrote_it():
    error = UserError(f"record {'r' * 5000}: seed = {'9' * 4000}: expected a number")
    assert len(str(error)) < 2 * LONGEST + 50 and str(error).endswith(": expected a number")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_unknown_names_are_cut_too():
    assert len(did_you_mean("x" * 10**6, ["blended"])) < 50
    for key in ("k " * 10**5, 10**5000, None, 1.5):
        assert len(str(unknown_key("settings", key, ["seed"]))) < LONGEST + 100
