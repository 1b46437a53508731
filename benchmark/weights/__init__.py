"""Weights: initial weights of a counter from a download or a file, and files of other programs.

Files are read as data only: nothing that is pickled in them is run. `checkpoint` reads a file of
any known format, `names` gives its tensors a counter's names, `start` loads them, and `conversion`
writes them as safetensors.
"""

from benchmark.weights.checkpoint import read_checkpoint, read_state_dict
from benchmark.weights.conversion import convert
from benchmark.weights.names import KeyMap, mapped, part_for, renamed
from benchmark.weights.setting import (ClipWeights, FileWeights, Weights, checked_weights,
                                       weights_setting)
from benchmark.weights.start import (WHOLE, described, load_tensors, start_from, start_whole,
                                     trained)

__all__ = ["WHOLE", "ClipWeights", "FileWeights", "KeyMap", "Weights", "checked_weights", "convert",
           "described", "load_tensors", "mapped", "part_for", "read_checkpoint", "read_state_dict",
           "renamed", "start_from", "start_whole", "trained", "weights_setting"]
