"""Requests: what a user asks for, merged from a preset or a YAML file and from flags, unchecked.

Flags override the file. Any list is an axis of the grid: `seed: [0, 1, 2]`,
`attack.alpha: [0.05, 0.1]`, or a list of attacks; `expand` gives the choices one by one.
"""

import copy
import itertools
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from benchmark.utils.errors import UserError, did_you_mean

PRESETS = files("benchmark") / "presets"
ATTACKS = ("attack", "also")
DEFAULTS = {"data": "synthetic", "model": "tiny", "attack": None, "defense": "none",
            "training": None}
# Keys of a preset that make it a frozen grid; no settings.
FREEZING = ("protocol", "splits", "counted")


def load_request(source: str) -> dict[str, Any]:
    """The request of a preset, by its name, or of a YAML file, by its path. Raises UserError."""
    presets = preset_names()
    if source in presets:
        settings = read_yaml(PRESETS / f"{source}.yaml")
        return {key: value for key, value in settings.items() if key not in FREEZING}
    if not Path(source).is_file():
        raise UserError(f"run {source!r}: no such preset or file: {did_you_mean(source, presets)}")
    return read_yaml(Path(source))


def preset_names() -> list[str]:
    """The names of the presets that ship with the package."""
    return sorted(path.name.removesuffix(".yaml") for path in PRESETS.iterdir()
                  if path.name.endswith(".yaml"))


def read_yaml(path: Any) -> dict[str, Any]:
    """A YAML mapping. Raises UserError, which names the file and the line."""
    try:
        settings = yaml.safe_load(path.read_text())
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        # A ValueError: a 13th month, or no text.
        raise UserError(f"{path}: not readable as YAML: {' '.join(str(error).split())}") from None
    if not isinstance(settings, dict):
        raise UserError(f"{path}: expected a mapping of settings")
    return settings


def override(request: dict[str, Any], assignments: list[str]) -> dict[str, Any]:
    """The request with the flags `key=value` or `key.setting=value` on top.

    A value with commas is a list.

    Raises:
        UserError: a flag has no key or no value, or as `change` does.
    """
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key:
            raise UserError(f"--set {assignment!r}: expected key=value, for instance "
                            "attack.alpha=0.05,0.1")
        values = [_scalar(part) for part in text.split(",")]
        value = values if len(values) > 1 else values[0]
        request = change(request, key, value)
    return request


def change(request: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """The request with a key, for instance `seed` or `attack.alpha`, changed; a list is an axis.

    Where the key is an axis, each of its choices gets the setting. The attack `none` and the
    defense `none` have no settings and are left as they are. Raises UserError where no choice could
    have the setting.
    """
    request = copy.deepcopy(request)
    first, dot, setting = key.partition(".")
    if dot:
        value = _with(request.get(first, DEFAULTS.get(first)), first, setting, value)
    request[first] = value
    return request


def as_mapping(key: str, choice: Any) -> dict[str, Any] | None:
    """One choice of a key as a mapping of settings; None for no attack.

    A name alone stands for a component without settings: `defense: anp`,
    `attack: multiply`. Raises UserError.
    """
    if key in ATTACKS and choice in (None, "none"):
        return None
    if isinstance(choice, str) and key != "training":
        return {"target" if key in ATTACKS else "name": choice}
    if not isinstance(choice, dict | None):
        raise UserError(f"{key}: expected a mapping of settings, got {choice!r}")
    return choice or {}


def expand(node: Any) -> Iterator[Any]:
    """Every choice of one value from each list in a tree of settings."""
    if isinstance(node, list):
        for choice in node:
            yield from expand(choice)
    elif isinstance(node, dict):
        for values in itertools.product(*(list(expand(value)) for value in node.values())):
            yield dict(zip(node, values))
    else:
        yield node


def _with(given: Any, key: str, setting: str, value: Any) -> list[Any]:
    """The choices of a key, each with a setting changed. Raises UserError if none could have it."""
    choices = [as_mapping(key, choice)
               for choice in (given if isinstance(given, list) else [given])]
    changed = [choice for choice in choices if choice is not None and choice.get("name") != "none"]
    if not changed:
        raise UserError(f"--set {key}.{setting}: there is no {key} that could have settings")
    first, dot, inner = setting.partition(".")
    for choice in changed:
        choice[first] = _with(choice.get(first, {}), first, inner, value) if dot else value
    return choices


def _scalar(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except (ValueError, yaml.YAMLError):
        return text
