"""Depth of convolutions: the largest number of convolutions on a path from the image to them.

Methods that look at certain layers of a network name them by their place in a chain. Counters
branch: MCNN has three columns, SFANet two decoders. Convolutions of different branches that have
the same depth are treated alike, so that a method reaches all branches.
"""

from collections import defaultdict

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node

from benchmark.utils.errors import UserError
from benchmark.utils.torch_modules import in_evaluation_mode, watched
from models.base import Counter

SIDES = (64, 128)  # of two images, in pixels


def levels(counter: Counter) -> list[list[str]]:
    """The names of the convolutions that read feature maps, grouped by depth, shallowest first.

    Two kinds of convolutions are left out: those that read the image itself, because the image is
    the same for every counter; and those that read a summary of fixed size, such as the pooled
    averages of CAN, because a map of 1x1 blocks has no pattern to compare.

    Raises:
        UserError: the counter has no other convolution.
    """
    depth, sizes = trace(counter)
    _, larger_sizes = trace(counter, SIDES[1])
    groups: dict[int, list[str]] = defaultdict(list)
    for name, number in depth.items():
        if number > 1 and sizes[name] != larger_sizes[name]:
            groups[number].append(name)
    if not groups:
        raise UserError(f"model {counter.name}: expected a convolution that reads feature maps, "
                        "found none behind the first one")
    return [groups[number] for number in sorted(groups)]


def trace(counter: Counter, side: int = SIDES[0]) -> tuple[dict[str, int], dict[str, torch.Size]]:
    """The depth and the size of the input, (h, w), of each convolution that runs, by its name.

    The names are in the order in which the convolutions first run. A convolution that runs several
    times has the depth and the size of its last run.

    side: of the square image, in pixels.
    """
    outputs: dict[str, Node] = {}
    sizes: dict[str, torch.Size] = {}

    def note(name: str, arguments: tuple[Tensor, ...], output: Tensor) -> None:
        outputs[name] = output.grad_fn
        sizes[name] = arguments[0].shape[-2:]

    convolutions = {name: module for name, module in counter.named_modules()
                    if isinstance(module, nn.Conv2d)}
    image = next(counter.parameters()).detach().new_zeros(1, 3, side, side)
    with torch.enable_grad(), in_evaluation_mode(counter), watched(convolutions, note):
        counter.apply_layers(image.requires_grad_(), counter.density)
    return _depths(outputs), sizes


def _depths(outputs: dict[str, Node]) -> dict[str, int]:
    """The depth of each convolution from the autograd nodes of their outputs.

    The depth is the largest number of these nodes on a path through the autograd graph.
    """
    convolutions = set(outputs.values())
    depth: dict[Node, int] = {}
    stack = list(outputs.values())
    while stack:  # depth first, and without recursion, because graphs have hundreds of nodes
        node = stack[-1]
        inputs = [source for source, _ in node.next_functions if source is not None]
        unknown = [source for source in inputs if source not in depth]
        if unknown:
            stack += unknown
        else:
            deepest = max((depth[source] for source in inputs), default=0)
            depth[node] = deepest + (node in convolutions)
            stack.pop()
    return {name: depth[node] for name, node in outputs.items()}
