"""Names of tensors: those of other programs, and the names of a counter for them.

torch.compile writes `_orig_mod.` before the names or between them, DataParallel `module.`, and
Lightning and other wrappers `model.` or `net.`. These parts are dropped in any order.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from benchmark.utils.errors import UserError, quoted

# Parts that wrappers of torch put anywhere into a name.
INNER = ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
# First parts under which training scripts keep the network.
OUTER = ("model", "net", "network", "generator", "online_model")
LONGEST_PREFIX = 6  # parts of a name before that of the counter
SHOWN = 5  # names in an error message

KeyMap = Mapping[str, str | None]  # beginnings of names -> those of a counter; None drops a tensor


def renamed(tensors: dict[str, Tensor], key_map: KeyMap, source: str | Path,
            expected: Iterable[str] = ()) -> dict[str, Tensor]:
    """Another program's tensors under the names of this project. See `start_from` for `key_map`.

    expected: all names that the counter has a place for. Where they are given, a prefix is dropped
        under which the most of them are found, whatever it is called, and a tensor that none is for
        keeps its name. Otherwise only the prefixes of INNER and OUTER are dropped.

    Raises:
        UserError: two tensors get the same name; the message names `source`.
    """
    names = (_found(tensors, key_map, expected) if expected
             else {key: _mapped(plain, key_map) for key, plain in plain_names(tensors).items()})
    by_name: dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        name = names.get(key, key)
        if name is None:
            continue
        if name in by_name:
            raise UserError(f"weights {source}: two tensors are named {quoted(name)}; expected one")
        by_name[name] = tensor
    return by_name


def plain_names(keys: Iterable[str]) -> dict[str, str]:
    """The names without the prefixes of wrappers, by the full names.

    A prefix of INNER is dropped from each name, one of OUTER only where all names have it.

    >>> plain_names(["module.model._orig_mod.a.weight", "module.model._orig_mod.b"])
    {'module.model._orig_mod.a.weight': 'a.weight', 'module.model._orig_mod.b': 'b'}
    """
    names = {key: key.split(".") for key in keys}
    while names:
        first = {parts[0] if len(parts) > 1 else None for parts in names.values()}
        shared = first.pop() if len(first) == 1 else None
        droppable = (*INNER, shared) if shared in OUTER else INNER
        shorter = {key: parts[1:] if len(parts) > 1 and parts[0] in droppable else parts
                   for key, parts in names.items()}
        if shorter == names:
            break
        names = shorter
    return {key: ".".join(parts) for key, parts in names.items()}


def mapped(tensors: Mapping[str, Tensor], key_map: KeyMap) -> dict[str, Tensor]:
    """Tensors under other names. See `start_from` for `key_map`; None drops a tensor.

    >>> mapped({"head.0.bias": 1, "pixels": 2}, {"head": "reg_layer", "pixels": None})
    {'reg_layer.0.bias': 1}
    """
    names = {key: _mapped(key, key_map) for key in tensors}
    return {name: tensors[key] for key, name in names.items() if name is not None}


def part_for(module: nn.Module, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors that a module has a place for."""
    return {key: tensors[key] for key in module.state_dict() if key in tensors}


def beside_each_other(found: Iterable[str], expected: Iterable[str]) -> str:
    """Names in a file beside the expected ones, the differing ones first, for an error message.

    >>> beside_each_other(["a", "b"], ["b", "c"])
    "the file has 'a', 'b'; expected 'c', 'b'"
    """
    found, expected = list(dict.fromkeys(found)), list(dict.fromkeys(expected))
    return (f"the file has {listed(_differing_first(found, set(expected)))}; "
            f"expected {listed(_differing_first(expected, set(found)))}")


def listed(names: Sequence[Any]) -> str:
    """The first names, and how many more there are.

    >>> listed("abcdefg")
    "'a', 'b', 'c', 'd', 'e' and 2 more"
    """
    shown = ", ".join(quoted(name) for name in names[:SHOWN])
    more = len(names) - SHOWN
    return f"{shown} and {more:,} more" if more > 0 else shown or "none"


def _differing_first(names: list[str], others: set[str]) -> list[str]:
    return sorted(names, key=lambda name: name in others)


def _found(tensors: Iterable[str], key_map: KeyMap,
           expected: Iterable[str]) -> dict[str, str | None]:
    """The expected names for those of tensors, behind the prefix that gives the most of them."""
    by_plain_name = {_without_inner(name): name for name in expected}
    by_prefix: dict[str, dict[str, str | None]] = {"": {}}
    for key in tensors:
        parts = _without_inner(key).split(".")
        for length in range(min(len(parts), LONGEST_PREFIX + 1)):
            mapped = _mapped(".".join(parts[length:]), key_map)
            if mapped is None or mapped in by_plain_name:
                names = by_prefix.setdefault(".".join(parts[:length]), {})
                names[key] = by_plain_name.get(mapped)
    # The first of equals is the shortest of those that were found first.
    return max(by_prefix.values(), key=len)


def _without_inner(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in INNER)


def _mapped(name: str, key_map: KeyMap) -> str | None:
    """A name with its beginning replaced by the first that fits. A beginning ends before a dot."""
    for theirs, ours in key_map.items():
        if f"{name}.".startswith(f"{theirs}."):
            return None if ours is None else ours + name.removeprefix(theirs)
    return name
