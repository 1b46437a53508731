"""Descriptions of presets: comment, axes, number of cells, and whether the grid is frozen."""

import re
from itertools import takewhile
from typing import Any

from tabulate import tabulate

from benchmark.config.axes import expand, extent
from benchmark.config.request import PRESETS, load_request, read_yaml

WIDTH = 80  # of the column of values


def comment(name: str) -> str:
    """The lines of the comment at the top of a preset's file."""
    lines = PRESETS.joinpath(f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    return "\n".join(line.lstrip("# ") for line in takewhile(lambda line: line[:1] == "#", lines))


def first_sentence(name: str) -> str:
    """The first sentence of a preset's comment."""
    return re.split(r"(?<=\.)\s", " ".join(comment(name).split()))[0]


def describe(name: str) -> str:
    """A preset's comment, and a table of what it is and of its settings, as `--set` names them."""
    request = load_request(name)
    rows = [["cells", _cells(request)], ["frozen as", _frozen(name)]]
    rows += [[key, ", ".join(map(_choice, value))] for key, value in _settings(request)]
    table = tabulate(rows, ["setting", "value"], tablefmt="simple", disable_numparse=True,
                     maxcolwidths=[None, WIDTH])
    return f"preset {name}\n\n{comment(name)}\n\n{table}"


def _cells(request: dict[str, Any]) -> str:
    """The number of cells: '405, attack 5 x defense 27 x seed 3'."""
    axes = [(key, extent(value).choices) for key, value in request.items()]
    product = " x ".join(f"{key} {choices}" for key, choices in axes if choices > 1)
    number = str(extent(request).choices)
    return f"{number}, {product}" if product else number


def _frozen(name: str) -> str:
    """The name under which a preset is frozen, and what may differ in its cells all the same."""
    settings = read_yaml(PRESETS / f"{name}.yaml")
    if "protocol" not in settings:
        return "not frozen"
    images = ", on the same images" if settings.keys() & {"splits", "counted"} else ""
    return f"{settings['protocol']}: with any {settings.get('open', 'defense')}{images}"


def _settings(request: dict[str, Any], prefix: str = "") -> list[tuple[str, list[Any]]]:
    """The settings by dotted key, each with its values; an axis has several."""
    rows: list[tuple[str, list[Any]]] = []
    for key, value in request.items():
        if isinstance(value, dict):
            rows += _settings(value, f"{prefix}{key}.")
        else:
            rows.append((f"{prefix}{key}", value if isinstance(value, list) else [value]))
    return rows


def _choice(value: Any) -> str:
    """One choice of an axis in a line: 'minus', or 'retrain images=40 extra=0'."""
    if not isinstance(value, dict):
        return str(value)
    names = [str(value[key]) for key in ("name", "target") if isinstance(value.get(key), str)]
    given = [f"{key}={_values(item)}" for key, item in value.items()
             if key not in ("name", "target") or not isinstance(item, str)]
    return " ".join(names + given)


def _values(value: Any) -> str:
    """The values of a setting, as `--set` takes them: '0.05,0.1'."""
    return ",".join(map(str, expand(value)))
