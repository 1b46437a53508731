"""Device, processes and precision of a run, through Accelerate, and what `auto` precision means."""

from contextlib import AbstractContextManager, nullcontext

import torch
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState
from accelerate.tracking import get_available_trackers
from accelerate.utils import broadcast_object_list, parse_flag_from_env

from benchmark.utils.errors import UserError, did_you_mean

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def state() -> PartialState:
    """The state of this process: its device, its index and the number of processes in the run.

    The environment variable ACCELERATE_USE_CPU=true keeps all work on the CPU.
    """
    return PartialState(cpu=_on_cpu())


def device() -> torch.device:
    """The device of this process."""
    return state().device


def _on_cpu() -> bool:
    """Whether to run on the CPU. Accelerate must be told so, or it joins no processes there."""
    if parse_flag_from_env("ACCELERATE_USE_CPU"):
        return True
    return torch.accelerator.current_accelerator() is None


def resolve_precision(precision: str) -> str:
    """The precision to compute in.

    'auto' becomes 'bf16' if the device supports it natively, else 'fp32'; every other precision is
    returned as it is.

    Raises:
        UserError: 'fp16' on a CPU, where Accelerate cannot train in it.
    """
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


def autocast(precision: str) -> AbstractContextManager:
    """The context in which a counter counts at a resolved precision."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device().type, DTYPES[precision])


def accelerator(precision: str, tracker: str | None) -> Accelerator:
    """An Accelerator for one training; each training of a process may have its own precision.

    Raises:
        UserError: the tracker is unknown or not installed. Accelerate itself would only log that.
    """
    available = [str(getattr(name, "value", name)) for name in get_available_trackers()]
    if tracker is not None and tracker not in available:
        raise UserError(f"training.tracker = {tracker!r}: not installed or unknown; "
                        f"{did_you_mean(tracker, available)}")
    AcceleratorState._reset_state()  # this singleton would refuse a second precision in one process
    return Accelerator(cpu=_on_cpu(), mixed_precision="no" if precision == "fp32" else precision,
                       log_with=tracker, project_dir="runs/trackers" if tracker else None)


def main_says(value: bool) -> bool:
    """The main process's value, sent to all processes so that they take the same branch."""
    if state().num_processes == 1:
        return value
    values = [value]
    broadcast_object_list(values)
    return values[0]
