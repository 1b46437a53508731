"""Device, processes and precision of a run, through Accelerate, and what `auto` precision means."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TypeVar

import torch
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState
from accelerate.tracking import get_available_trackers
from accelerate.utils import (GradientAccumulationPlugin, broadcast_object_list,
                              parse_flag_from_env)

from benchmark.utils.errors import UserError, did_you_mean, quoted, shown
from benchmark.utils.switches import check_precision

Value = TypeVar("Value")
OFF = {"", "0", "no", "false", "off"}
# Environment variables that Accelerate, torch or CUDA read, with the values that change nothing.
# What `accelerator` is given, Accelerate does not read from its variables; they change nothing.
# Variables that only change the rounding are in `switches.VARIABLES`; they are recorded.
CHANGES_RESULTS = {
    "ACCELERATE_DOWNCAST_BF16": OFF, "ACCELERATE_USE_DEEPSPEED": OFF, "ACCELERATE_USE_FSDP": OFF,
    "ACCELERATE_USE_MEGATRON_LM": OFF, "ACCELERATE_USE_PARALLELISM_CONFIG": OFF,
    "DNNL_DEFAULT_FPMATH_MODE": {"", "strict"}, "ONEDNN_DEFAULT_FPMATH_MODE": {"", "strict"},
    "NVIDIA_TF32_OVERRIDE": set(), "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": OFF}
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
ON_CPU = "ACCELERATE_USE_CPU"
AUTO = "CROWD_PRECISION"  # the environment variable that says what the precision 'auto' means
REPAIRS = "CROWD_REPAIRS"  # that which says what it means where a defense computes
PRECISIONS = ("fp32", "bf16", "fp16")


def state() -> PartialState:
    """The state of this process: its device, its index and the number of processes in the run.

    The environment variable ACCELERATE_USE_CPU=true keeps all work on the CPU.

    Raises:
        UserError: an environment variable that Accelerate reads has a wrong value, or some of those
            of a launcher are missing.
    """
    on_cpu = _on_cpu()
    try:
        return PartialState(cpu=on_cpu)
    except ValueError as error:
        raise UserError(f"environment variables of a launcher (LOCAL_RANK, RANK, ...): "
                        f"{shown(error)}; expected all that `accelerate launch` sets, or none"
                        ) from None


def device() -> torch.device:
    """The device of this process."""
    return state().device


def _on_cpu() -> bool:
    """Whether to run on the CPU. Accelerate must be told so, or it joins no processes there."""
    try:
        asked = parse_flag_from_env(ON_CPU)
    except ValueError:
        raise UserError(f"environment variable {ON_CPU} = {quoted(os.environ[ON_CPU])}: expected "
                        "true or false") from None
    return asked or torch.accelerator.current_accelerator() is None


def resolve_precision(precision: str) -> str:
    """The precision to compute in.

    'auto' becomes the value of the environment variable CROWD_PRECISION or, where that is not set,
    'bf16' if the device supports it natively, else 'fp32'. Every other precision is returned as it
    is.

    Raises:
        UserError: CROWD_PRECISION is no precision, or it is 'fp16' on a CPU, where Accelerate
            cannot train in it.
    """
    if precision == "auto" and os.environ.get(AUTO):
        precision = _named_by(AUTO)
    kind = device().type
    if precision == "fp16" and kind == "cpu":
        raise UserError("training.precision = 'fp16': a CPU cannot train in fp16; "
                        "expected auto, bf16 or fp32")
    if precision != "auto":
        return precision
    if kind == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    elif kind == "cpu":
        native = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    else:
        native = False
    return "bf16" if native else "fp32"


def repair_precision(precision: str) -> str:
    """The precision in which a defense computes.

    'auto' becomes the value of the environment variable CROWD_REPAIRS or, where that is not set,
    what `resolve_precision` gives. So a machine without bf16 repairs counters in fp32 that others
    trained in bf16, and counts with all of them in bf16.

    Raises:
        UserError: see `resolve_precision`.
    """
    if precision == "auto" and os.environ.get(REPAIRS):
        precision = _named_by(REPAIRS)
    return resolve_precision(precision)


def _named_by(variable: str) -> str:
    """The precision that an environment variable names. Raises UserError if it is none."""
    precision = os.environ[variable]
    if precision not in PRECISIONS:
        raise UserError(f"environment variable {variable} = {quoted(precision)}: expected one of "
                        f"{', '.join(PRECISIONS)}")
    return precision


def autocast(precision: str) -> AbstractContextManager:
    """The context in which a counter counts at a resolved precision."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device().type, DTYPES[precision])


@contextmanager
def tuned_convolutions(sizes_repeat: bool) -> Iterator[None]:
    """A context in which cuDNN times its algorithms at each new size, and takes the fastest.

    It does nothing where sizes do not repeat, because each would be timed, and where somebody asks
    for the same bits in each run: the fastest algorithm may be another one next time.
    """
    cudnn = torch.backends.cudnn
    same_bits = cudnn.deterministic or torch.are_deterministic_algorithms_enabled()
    before = cudnn.benchmark
    if device().type == "cuda" and sizes_repeat and not same_bits:
        cudnn.benchmark = True
    try:
        yield
    finally:
        cudnn.benchmark = before


def accelerator(precision: str, tracker: str | None) -> Accelerator:
    """An Accelerator for one training; each training of a process may have its own precision.

    It is given all that it would otherwise read from environment variables. The training loop adds
    up gradients and compiles counters itself.

    Raises:
        UserError: the tracker is unknown or not installed, which Accelerate itself would only log,
            or an environment variable or a switch of torch would change the training.
    """
    check_environment()
    available = [str(getattr(name, "value", name)) for name in get_available_trackers()]
    if tracker is not None and tracker not in available:
        expected = (did_you_mean(tracker, available) if available
                    else "no tracker is installed; `pip install tensorboard` installs one")
        raise UserError(f"training.tracker = {quoted(tracker)}: not installed or unknown; "
                        f"{expected}")
    AcceleratorState._reset_state()  # this singleton would refuse a second precision in one process
    # Only as a plugin is the number of accumulated steps not overridden by the environment.
    return Accelerator(cpu=_on_cpu(), mixed_precision="no" if precision == "fp32" else precision,
                       gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
                       dynamo_backend="no", log_with=tracker,
                       project_dir="runs/trackers" if tracker else None)


def check_environment() -> None:
    """Refuse what would change results without a trace in the record.

    Raises:
        UserError: such an environment variable is set, or such a switch of torch is on.
    """
    check_precision()
    for name, harmless in CHANGES_RESULTS.items():
        value = os.environ.get(name)
        if value is not None and value.lower() not in harmless:
            raise UserError(f"environment variable {name} = {value!r}: it would change the results "
                            "without a trace in the records; unset it, and use the settings "
                            "training.* instead")


def main_says(value: Value) -> Value:
    """The main process's value, sent to all processes so that they take the same branch."""
    if state().num_processes == 1:
        return value
    values = [value]
    broadcast_object_list(values)
    return values[0]
