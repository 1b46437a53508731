"""CrowdBackdoorBench: backdoor attacks and defenses on deep crowd counters, measured per image.

The Python API: the names below are those of `benchmark.api`, which is imported when the first of
them is used, so that `import benchmark` itself takes no time.

>>> import benchmark as cb
>>> cb.list_components("model")[:3]
['bayesian', 'can', 'clip_ebc']
"""

from importlib import import_module
from typing import Any

from benchmark.utils.packages import check_not_hidden
from benchmark.version import __version__

__all__ = ["__version__", "Evaluation", "Grid", "Recipe", "Results", "attack", "build",
           "check_defense", "dataset", "defense", "evaluate", "import_beside", "list_components",
           "list_presets", "load_counter", "load_grid", "load_plugin", "load_records", "model",
           "read_image", "register", "run"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'benchmark' has no attribute {name!r}")
    check_not_hidden()
    return getattr(import_module("benchmark.api"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
