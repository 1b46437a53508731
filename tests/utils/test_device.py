"""Environment variables that would change results without a trace are refused, and harmless values are not."""

import pytest
import torch
from accelerate import PartialState

from benchmark.cli import main
from benchmark.utils.device import (CHANGES_RESULTS, accelerator, check_environment, device, repair_precision,
                                    resolve_precision, tuned_convolutions)
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
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "1")
    assert main(["run", "quick", "--dry-run"]) == 2
    assert "NVIDIA_TF32_OVERRIDE = '1'" in capsys.readouterr().err


@pytest.mark.parametrize("name, value, message", [
    ("ACCELERATE_USE_CPU", "maybe", "ACCELERATE_USE_CPU = 'maybe': expected true or false"),
    ("LOCAL_RANK", "5", "of a launcher .*RANK expected, but not set; expected all that"),
    ("LOCAL_RANK", "first", "of a launcher .*'first'; expected all that")])
def test_an_environment_that_no_launcher_sets_is_refused(monkeypatch, name, value, message):
    monkeypatch.setattr(PartialState, "_shared_state", {})
    monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=message):
        device()


def test_the_accelerator_reads_none_of_its_settings_from_the_environment(monkeypatch):
    for name, value in (("GRADIENT_ACCUMULATION_STEPS", "3"), ("DYNAMO_BACKEND", "INDUCTOR"),
                        ("MIXED_PRECISION", "bf16")):
        monkeypatch.setenv(f"ACCELERATE_{name}", value)
    made = accelerator("fp32", None)
    assert made.gradient_accumulation_steps == 1 and made.mixed_precision == "no"
    assert made.state.dynamo_plugin.backend.value == "NO"


@pytest.mark.parametrize("named", ["fp32", "bf16"])
def test_a_variable_says_what_automatic_precision_means_and_nothing_else(monkeypatch, named):
    monkeypatch.setenv("CROWD_PRECISION", named)
    assert resolve_precision("auto") == named
    assert [resolve_precision(precision) for precision in ("fp32", "bf16")] == ["fp32", "bf16"]


def test_another_variable_says_in_which_precision_a_defense_computes(monkeypatch):
    monkeypatch.setenv("CROWD_PRECISION", "bf16")
    assert repair_precision("auto") == "bf16"
    monkeypatch.setenv("CROWD_REPAIRS", "fp32")
    assert (repair_precision("auto"), resolve_precision("auto"), repair_precision("bf16")) == ("fp32", "bf16", "bf16")
    monkeypatch.setenv("CROWD_REPAIRS", "half")
    with pytest.raises(UserError, match="environment variable CROWD_REPAIRS = 'half': expected one of fp32"):
        repair_precision("auto")


@pytest.mark.parametrize("named, message", [("half", "expected one of fp32, bf16, fp16"), ("FP32", "expected one of fp32"),
                                            ("auto", "expected one of fp32"), ("fp16", "a CPU cannot train in fp16")])
def test_a_variable_that_names_no_precision_of_this_machine_is_refused(monkeypatch, capsys, named, message):
    monkeypatch.setenv("CROWD_PRECISION", named)
    assert main(["run", "quick", "--dry-run"]) == 2 and message in capsys.readouterr().err


@pytest.mark.parametrize("kind, sizes_repeat, same_bits, expected", [
    ("cuda", True, False, True), ("cuda", False, False, False), ("cuda", True, True, False), ("cpu", True, False, False)])
def test_convolutions_are_tuned_on_cuda_where_sizes_repeat_unless_bits_must(monkeypatch, kind, sizes_repeat, same_bits,
                                                                            expected):
    monkeypatch.setattr("benchmark.utils.device.device", lambda: torch.device(kind))
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", same_bits)
    with pytest.raises(ZeroDivisionError), tuned_convolutions(sizes_repeat):
        assert torch.backends.cudnn.benchmark is expected
        1 / 0
    assert not torch.backends.cudnn.benchmark
