"""A device that is not the CPU, made of the CPU's memory: an operation on tensors of both fails, as on a GPU.

It shows without a GPU whether tensors are made where they are used. Nothing of CUDA runs here.
"""

from contextlib import contextmanager, nullcontext
from unittest.mock import patch

import torch
from accelerate import PartialState
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from benchmark.testing import attacked

DEVICE = torch.device("lazy:0")  # of torch's devices, one whose gradients are computed without a driver
BETWEEN = {torch.ops.aten.copy_.default, torch.ops.aten._to_copy.default}


class Elsewhere(Tensor):
    """A tensor on DEVICE. here: what it holds, on the CPU."""

    @staticmethod
    def __new__(cls, here):
        return Tensor._make_wrapper_subclass(cls, here.size(), strides=here.stride(), dtype=here.dtype, device=DEVICE,
                                             storage_offset=here.storage_offset())

    def __init__(self, here):
        self.here = here

    @classmethod
    def __torch_dispatch__(cls, operation, types, args=(), kwargs=None):
        return _run(operation, args, kwargs or {})


class _Operations(TorchDispatchMode):
    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        return _run(operation, args, kwargs or {})


class _Values(TorchFunctionMode):
    """What torch does with values outside of its operations: it would ask the device for them."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if function is Tensor.tolist:
            return function(args[0].cpu())
        if function in (torch.tensor, torch.as_tensor, Tensor.new_tensor):
            own = args[0].device if function is Tensor.new_tensor else None
            if (device := kwargs.pop("device", own)) is not None and torch.device(device).type == DEVICE.type:
                return torch.tensor(args[-1], **kwargs).to(device)
        return function(*args, **kwargs)


def _run(operation, args, kwargs):
    """The operation on what the tensors hold; results are where its tensors are, or where it is told to put them."""
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    away = {id(tensor.here): tensor for tensor in tensors if isinstance(tensor, Elsewhere)}
    if away and operation not in BETWEEN:
        free = [id(index) for index in args[1]] if "index" in operation.__name__ and isinstance(args[1], list) else []
        near = [tuple(tensor.shape) for tensor in tensors
                if tensor.dim() and not isinstance(tensor, Elsewhere) and id(tensor) not in free]
        if near:  # numbers, and lists of indices, may be on the CPU
            raise RuntimeError(f"{operation}: {near} on the CPU, {[tuple(t.shape) for t in away.values()]} are not")
    to_device = bool(away)
    if operation is torch.ops.aten.copy_.default:
        to_device = isinstance(args[0], Elsewhere)
    elif (device := kwargs.get("device")) is not None:
        to_device, kwargs = torch.device(device).type == DEVICE.type, kwargs | {"device": "cpu"}
    args, kwargs = tree_map_only(Elsewhere, lambda tensor: tensor.here, (args, kwargs))
    result = operation(*args, **kwargs)
    if not to_device:
        return result
    return tree_map_only(Tensor, lambda t: away[id(t)] if id(t) in away else Elsewhere(t), result)


@contextmanager
def elsewhere():
    """All that the benchmark computes is computed on DEVICE, in fp32: there is no autocast, nor an inference mode."""
    PartialState(cpu=True)
    attacked.cache_clear()
    with (patch.dict(PartialState._shared_state, device=DEVICE), patch("benchmark.utils.device._on_cpu", lambda: False),
          patch("torch.autocast", lambda *_, **__: nullcontext()), patch("torch.inference_mode", torch.no_grad),
          _Values(), _Operations()):
        yield
    attacked.cache_clear()
