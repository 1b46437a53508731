"""Environment variables that would change results without a trace are refused, and harmless values are not."""

import pytest

from benchmark.cli import main
from benchmark.utils.device import CHANGES_RESULTS, check_environment
from benchmark.utils.errors import UserError


@pytest.mark.parametrize("name", CHANGES_RESULTS)
def test_a_variable_that_changes_results_is_refused_by_name(monkeypatch, name):
    monkeypatch.setenv(name, "3")
    with pytest.raises(UserError, match=f"environment variable {name} = '3'"):
        check_environment()


@pytest.mark.parametrize("name", CHANGES_RESULTS)
def test_what_a_launcher_sets_without_being_asked_is_accepted(monkeypatch, name):
    for value in CHANGES_RESULTS[name]:
        monkeypatch.setenv(name, value.upper())
        check_environment()
    monkeypatch.delenv(name, raising=False)
    check_environment()


def test_a_run_with_such_a_variable_ends_before_data_is_read(monkeypatch, capsys):
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    assert main(["run", "quick", "--dry-run"]) == 2
    assert "ACCELERATE_GRADIENT_ACCUMULATION_STEPS = '4'" in capsys.readouterr().err
