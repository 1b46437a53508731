"""Which device and which precision: what `auto` means here, and a clear word where a wish cannot be met."""

from contextlib import AbstractContextManager, nullcontext

import torch
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState
from accelerate.tracking import get_available_trackers
from accelerate.utils import broadcast_object_list, parse_flag_from_env

from benchmark.utils.errors import UserError, did_you_mean

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def state() -> PartialState:
    """This process among those of the run: its device, its number and how many there are.

    ACCELERATE_USE_CPU=true keeps to the CPU. Accelerate joins processes on the CPU only when it is told that it is one.
    """
    return PartialState(cpu=_on_cpu())


def device() -> torch.device:
    """The device of this process."""
    return state().device


def _on_cpu() -> bool:
    return parse_flag_from_env("ACCELERATE_USE_CPU") or torch.accelerator.current_accelerator() is None


def resolve_precision(wish: str) -> str:
    """'auto' -> 'bf16' where the device runs it natively, else 'fp32'; any other wish stays.

    Raises:
        UserError: fp16 is wished for on a CPU, where Accelerate has none.
    """
    kind = device().type
    if wish == "fp16" and kind == "cpu":
        raise UserError("training.precision = 'fp16': a CPU has no fp16 training; expected auto, bf16 or fp32")
    if wish != "auto":
        return wish
    if kind == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = kind == "cpu" and (torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())
    return "bf16" if native else "fp32"


def autocast(precision: str) -> AbstractContextManager:
    """The context in which a counter counts at a resolved precision."""
    return nullcontext() if precision == "fp32" else torch.autocast(device().type, DTYPES[precision])


def accelerator(precision: str, tracker: str | None) -> Accelerator:
    """An Accelerator for one training; a process may train many, each at its own precision.

    Raises:
        UserError: the tracker is not installed. Accelerate itself would only log that.
    """
    available = [str(getattr(name, "value", name)) for name in get_available_trackers()]
    if tracker is not None and tracker not in available:
        raise UserError(f"training.tracker = {tracker!r}: not installed or unknown: {did_you_mean(tracker, available)}")
    AcceleratorState._reset_state()  # the precision is a singleton there; without this a second one is refused
    return Accelerator(cpu=_on_cpu(), mixed_precision="no" if precision == "fp32" else precision, log_with=tracker,
                       project_dir="runs/trackers" if tracker else None)


def main_says(value: bool) -> bool:
    """The main process's answer, so that all processes take the same way."""
    if state().num_processes == 1:
        return value
    answer = [value]
    broadcast_object_list(answer)
    return answer[0]
