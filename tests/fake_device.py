"""Fake device in the CPU's memory: operations that mix its tensors with the CPU's fail as on a GPU.

It shows without a GPU whether code makes its tensors on the right device, and how often a GPU would
wait for the program or the program for it. It runs nothing of CUDA.
"""

from collections import Counter
from contextlib import contextmanager, nullcontext
from unittest.mock import patch

import torch
from accelerate import PartialState
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from benchmark.testing import attacked

DEVICE = torch.device("lazy:0")  # one of torch's device types, whose gradients need no driver
COPIES = {torch.ops.aten.copy_.default, torch.ops.aten._to_copy.default}  # may mix devices
# Operations whose result, or its size, the program must know before it goes on. The first is what `item` and
# `if tensor` ask for.
WAITING = {"_local_scalar_dense", "equal", "nonzero", "masked_select", "_unique2", "unique_dim", "unique_consecutive",
           "bincount"}
BY_INDEX = {"index", "index_put", "index_put_", "_index_put_impl_"}
# Operations that launch nothing on a GPU, beside views.
FREE = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "_unsafe_view"}
TO, FROM = "to the device", "from the device"
transfers = []  # TO for each copy to the device, FROM for each time that the program waits for it, in their order
launches = Counter()  # how often each operation that is none of FREE was run on the device


class Elsewhere(Tensor):
    """A tensor on DEVICE. here: a CPU tensor with its values."""

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
    """Functions for which torch would ask the device's driver for the values."""

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
    """Run an operation on the CPU tensors behind its arguments.

    The results are on DEVICE if an argument is, unless the operation names a device or copies into
    a given tensor.
    """
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    away = {id(tensor.here): tensor for tensor in tensors if isinstance(tensor, Elsewhere)}
    if away and operation not in COPIES:
        on_cpu = [tuple(tensor.shape) for tensor in _must_be_away(operation, args, tensors)
                  if not isinstance(tensor, Elsewhere)]
        if on_cpu:
            on_device = [tuple(tensor.shape) for tensor in away.values()]
            raise RuntimeError(f"{operation}: {on_cpu} on the CPU, {on_device} on the device")
    _record(operation, args, kwargs, bool(away))
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


def _record(operation, args, kwargs, away):
    """Add an operation to `launches`, and to `transfers` if it copies between the devices or waits.

    away: whether an argument is on DEVICE.
    """
    name, source, goal = operation.overloadpacket.__name__, away, away
    if (device := kwargs.get("device")) is not None:
        goal = torch.device(device).type == DEVICE.type
    if operation is torch.ops.aten.copy_.default:
        goal, source = (isinstance(tensor, Elsewhere) for tensor in args[:2])
    if source and (name in WAITING or not goal):
        transfers.append(FROM)
    elif goal and not source and operation in COPIES:
        transfers.append(TO)
    elif away and name in BY_INDEX:
        _record_indices(*args[1:3])
    if (source or goal) and name not in FREE and not operation.is_view:
        launches[name] += 1


def _record_indices(indices, written=None):
    """Add to `transfers` what indexing needs: indices of the CPU, and the number of places under a mask.

    written: what is written there; a single number is written under a mask without a list of places.
    """
    given = [index for index in indices if index is not None]
    transfers.extend(TO for index in given if not isinstance(index, Elsewhere))
    masks = [index for index in given if index.dtype in (torch.bool, torch.uint8)]
    if masks and (written is None or written.numel() > 1):
        transfers.append(FROM)


def _must_be_away(operation, args, tensors):
    """The tensors that may not be on the CPU: all but single numbers and lists of indices."""
    indices = []
    if "index" in operation.__name__ and isinstance(args[1], list):
        indices = [id(index) for index in args[1]]
    return [tensor for tensor in tensors if tensor.dim() and id(tensor) not in indices]


@contextmanager
def elsewhere():
    """Let the benchmark compute on DEVICE, in fp32, without autocast and without inference mode."""
    PartialState(cpu=True)
    attacked.cache_clear()
    with (patch.dict(PartialState._shared_state, device=DEVICE), patch("benchmark.utils.device._on_cpu", lambda: False),
          patch("torch.autocast", lambda *_, **__: nullcontext()), patch("torch.inference_mode", lambda mode=True: torch.no_grad()),
          _Values(), _Operations()):
        yield
    attacked.cache_clear()
