"""Switches of torch and of its libraries that change results: some are refused, others recorded.

Refused is what makes the arithmetic less exact: `training.precision` decides on that, and a counter
in the store does not tell more. Recorded is what only chooses among ways to round a sum.
"""

import os
from operator import attrgetter
from typing import Any

import torch

from benchmark.utils.errors import UserError

EXACT = ("none", "ieee")
# torch's own names, each with the values that torch gives unless somebody changed it.
REFUSED = {
    "get_default_dtype": (torch.float32,), "get_float32_matmul_precision": ("highest",),
    "backends.cuda.matmul.fp32_precision": EXACT,
    "backends.cuda.matmul.allow_fp16_accumulation": (False,),
    "backends.mkldnn.matmul.fp32_precision": EXACT, "backends.mkldnn.conv.fp32_precision": EXACT,
    "backends.mkldnn.rnn.fp32_precision": EXACT}
RECORDED = {
    "are_deterministic_algorithms_enabled": (False,),
    "is_deterministic_algorithms_warn_only_enabled": (False,),
    "backends.cudnn.enabled": (True,), "backends.cudnn.benchmark": (False,),
    "backends.cudnn.deterministic": (False,), "backends.cudnn.allow_tf32": (True,),
    "backends.cudnn.conv.fp32_precision": ("tf32",),
    "backends.cudnn.rnn.fp32_precision": ("tf32",),
    "backends.cuda.matmul.allow_fp16_reduced_precision_reduction": (True,),
    "backends.cuda.matmul.allow_bf16_reduced_precision_reduction": (True,),
    "backends.cuda.fp16_bf16_reduction_math_sdp_allowed": (False,),
    "backends.cuda.flash_sdp_enabled": (True,), "backends.cuda.mem_efficient_sdp_enabled": (True,),
    "backends.cuda.math_sdp_enabled": (True,), "backends.cuda.cudnn_sdp_enabled": (True,),
    "backends.mha.get_fastpath_enabled": (True,),
    "backends.mkldnn.enabled": (True,), "backends.mkldnn.deterministic": (False,)}
# Environment variables that choose how sums are rounded.
VARIABLES = (
    "ATEN_CPU_CAPABILITY", "CUBLASLT_WORKSPACE_SIZE", "CUBLAS_WORKSPACE_CONFIG", "DNNL_MAX_CPU_ISA",
    "MKL_CBWR", "MKL_DYNAMIC", "MKL_ENABLE_INSTRUCTIONS", "NPY_DISABLE_CPU_FEATURES", "OMP_DYNAMIC",
    "ONEDNN_MAX_CPU_ISA", "OPENBLAS_CORETYPE", "PYTORCH_SUM_INNER_TREE",
    "PYTORCH_TUNABLEOP_ENABLED", "TORCH_BLAS_PREFER_CUBLASLT", "TORCH_CUDNN_SDPA_DEPRIORITIZED",
    "TORCH_CUDNN_USE_HEURISTIC_MODE_B", "TORCH_CUDNN_V8_API_DISABLED",
    "TORCH_LINALG_PREFER_CUSOLVER", "TORCH_LINEAR_FLATTEN_3D", "TORCH_MKLDNN_MATMUL_MIN_DIM",
    "TORCH_MKLDNN_MATMUL_MIN_SIZE")
# Recorded only where they differ from the number of torch's threads, which a record tells.
THREADS = ("MKL_DOMAIN_NUM_THREADS", "OPENBLAS_NUM_THREADS")

Switches = dict[str, bool | str]


def switches() -> Switches:
    """The switches that somebody changed, and the environment variables that are set.

    The names of switches are what gives their values: 'torch.backends.cudnn.benchmark'.
    """
    found = {f"torch.{name}": value for name, usual in (REFUSED | RECORDED).items()
             if (value := _read(name, usual[0])) not in usual}
    if torch.full((1,), 1e-42).mul(1).item() == 0:
        found["torch.set_flush_denormal"] = True
    threads = {"", str(torch.get_num_threads())}
    variables = [name for name in VARIABLES if os.environ.get(name)]
    variables += [name for name in THREADS if os.environ.get(name, "") not in threads]
    found |= {name: os.environ[name] for name in variables}
    return {name: value if isinstance(value, bool) else str(value)
            for name, value in found.items()}


def check_precision() -> None:
    """Refuse switches that make torch compute less exactly than a record would say.

    Raises:
        UserError: such a switch was changed; the error names it.
    """
    for name, usual in REFUSED.items():
        value = _read(name, usual[0])
        if value not in usual:
            raise UserError(f"torch.{name} is {value}: it would change the results without a "
                            f"trace in the records; expected {usual[-1]}, and the setting "
                            "training.precision instead")


def changed(before: Switches, after: Switches) -> str | None:
    """The first switch that differs between two moments, in words; None if none does."""
    names = sorted({*before, *after}, key=lambda name: (not name.startswith("torch."), name))
    for name in names:
        if before.get(name) != after.get(name):
            was, value = (each.get(name, "its default") for each in (before, after))
            return f"{name} was changed from {was} to {value}"
    return None


def _read(name: str, default: Any) -> Any:
    """The value of a switch; the default where this version of torch has no such switch.

    torch raises RuntimeError for the old name of a switch that was set under its new name, which is
    among ours, too.
    """
    try:
        value = attrgetter(name)(torch)
        return value() if callable(value) else value
    except (AttributeError, RuntimeError):
        return default
