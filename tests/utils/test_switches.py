"""Switches of torch: what makes it less exact is refused, and all others are told; usually there is nothing to tell."""

import json

import pytest
import torch

from benchmark.utils import switches as module
from benchmark.utils.device import check_environment
from benchmark.utils.environment import provenance
from benchmark.utils.errors import UserError
from benchmark.utils.switches import RECORDED, REFUSED, VARIABLES, changed, check_precision, switches

ARITHMETIC = torch.backends.cuda.matmul
SETTERS = {  # what somebody calls, what undoes it, and the switch that tells
    "high": (lambda: torch.set_float32_matmul_precision("high"), lambda: torch.set_float32_matmul_precision("highest"),
             "torch.get_float32_matmul_precision"),
    "tf32": (lambda: setattr(ARITHMETIC, "allow_tf32", True), lambda: setattr(ARITHMETIC, "allow_tf32", False),
             "torch.get_float32_matmul_precision"),
    "float64": (lambda: torch.set_default_dtype(torch.float64), lambda: torch.set_default_dtype(torch.float32),
                "torch.get_default_dtype"),
    "deterministic": (lambda: torch.use_deterministic_algorithms(True),
                      lambda: torch.use_deterministic_algorithms(False), "torch.are_deterministic_algorithms_enabled"),
    "benchmark": (lambda: setattr(torch.backends.cudnn, "benchmark", True),
                  lambda: setattr(torch.backends.cudnn, "benchmark", False), "torch.backends.cudnn.benchmark"),
    "reduction": (lambda: setattr(ARITHMETIC, "allow_bf16_reduced_precision_reduction", False),
                  lambda: setattr(ARITHMETIC, "allow_bf16_reduced_precision_reduction", True),
                  "torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction"),
    "no mkldnn": (lambda: torch.backends.mkldnn.set_flags(False), lambda: torch.backends.mkldnn.set_flags(True),
                  "torch.backends.mkldnn.enabled"),
    "denormal": (lambda: torch.set_flush_denormal(True), lambda: torch.set_flush_denormal(False),
                 "torch.set_flush_denormal")}
COARSER = ("high", "tf32", "float64")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    for name in (*VARIABLES, *module.THREADS):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def switched(request):
    """The switch that was changed for the time of a test."""
    change, undo, name = SETTERS[request.param]
    change()
    yield name
    undo()


def test_a_process_in_which_nobody_changed_anything_tells_nothing():
    assert switches() == {}
    check_precision()
    assert {"switches", "processes"}.isdisjoint(provenance())


@pytest.mark.skipif(not hasattr(torch.backends, "fp32_precision"), reason="this torch is older than some switches")
@pytest.mark.parametrize("name", [*REFUSED, *RECORDED])
def test_this_version_of_torch_has_the_switch(name):
    assert module._read(name, "missing") != "missing"


@pytest.mark.parametrize("switched", SETTERS, indirect=True)
def test_a_changed_switch_is_told_under_the_name_that_gives_its_value(switched):
    told = switches()
    assert switched in told and json.loads(json.dumps(told)) == told
    assert provenance()["switches"] == told
    assert changed({}, {switched: told[switched]}) == f"{switched} was changed from its default to {told[switched]}"


@pytest.mark.parametrize("switched", COARSER, indirect=True)
def test_what_makes_torch_less_exact_is_refused(switched):
    with pytest.raises(UserError, match=f"{switched} is .* training.precision instead"):
        check_environment()


@pytest.mark.parametrize("switched", [name for name in SETTERS if name not in COARSER], indirect=True)
def test_what_only_rounds_otherwise_is_not_refused(switched):
    check_environment()


def test_variables_that_round_otherwise_are_told_and_threads_only_where_they_differ(monkeypatch):
    monkeypatch.setenv("MKL_CBWR", "COMPATIBLE")
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", str(torch.get_num_threads()))
    assert switches() == {"MKL_CBWR": "COMPATIBLE"}
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "77")
    assert switches() == {"MKL_CBWR": "COMPATIBLE", "OPENBLAS_NUM_THREADS": "77"}


def test_a_switch_that_is_put_back_was_not_changed():
    assert changed({"MKL_CBWR": "AVX2", "torch.x": True}, {"torch.x": True, "MKL_CBWR": "AVX2"}) is None
    assert changed({"torch.x": True}, {"MKL_CBWR": "AVX2"}) == "torch.x was changed from True to its default"
