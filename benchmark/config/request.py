"""Requests: what a user asks for, merged from a preset or a YAML file and from flags, unchecked.

Flags override the file. Any list is an axis of the grid: `seed: [0, 1, 2]`,
`attack.alpha: [0.05, 0.1]`, or a list of attacks; see `benchmark.config.axes`.
"""

import copy
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

from benchmark.config.axes import extent
from benchmark.config.strict_yaml import MOST_BYTES, InvalidYaml, parse
from benchmark.registry import quoting_hint
from benchmark.utils.errors import UserError, cut, did_you_mean, quoted, shown
from benchmark.utils.regular_files import check_regular

PRESETS = files("benchmark") / "presets"
ATTACKS = ("attack", "also")
NAMED = ("data", "model", "attack", "defense")  # keys whose value is the name of a component
DEFAULTS = {"data": "synthetic", "model": "tiny", "attack": None, "defense": "none",
            "training": None}
# Keys of a preset that make it a frozen grid; no settings.
FREEZING = ("protocol", "splits", "counted", "open", "most_poisoned")
# A part of a flag's value: in quotes, where a comma is a comma, or up to the next comma.
PART = re.compile(r"""\s*(?:"(?:[^"\\]|\\.)*"|'(?:[^']|'')*')\s*(?=,|$)|[^,]*""")
BRACKETS = ("[", "{")  # of a list or a mapping in YAML
NOTHING = ("", "~", "null", "Null", "NULL")  # None in YAML


def load_request(source: str) -> dict[str, Any]:
    """The request of a preset, by its name, or of a YAML file, by its path. Raises UserError."""
    presets = preset_names()
    if source in presets:
        settings = read_yaml(PRESETS / f"{source}.yaml")
        return {key: value for key, value in settings.items() if key not in FREEZING}
    if not Path(source).exists():
        raise UserError(f"run {quoted(source)}: no such preset or file: "
                        f"{did_you_mean(source, presets)}")
    return read_yaml(Path(source))


def preset_names() -> list[str]:
    """The names of the presets that ship with the package."""
    return sorted(path.name.removesuffix(".yaml") for path in PRESETS.iterdir()
                  if path.name.endswith(".yaml"))


def read_yaml(path: Any) -> dict[str, Any]:
    """A YAML mapping. Raises UserError, which names the file and the line."""
    check_regular(path, MOST_BYTES)
    try:
        settings = parse(path.read_bytes())
    except InvalidYaml as error:
        raise UserError(f"{shown(path)}: not readable as YAML: {error}") from None
    except OSError as error:
        raise UserError(f"{shown(path)}: {error.strerror}; expected a file that can be read"
                        ) from None
    if not isinstance(settings, dict):
        raise UserError(f"{shown(path)}: expected a mapping of settings")
    return settings


def override(request: dict[str, Any], assignments: list[str]) -> dict[str, Any]:
    """The request with the flags `key=value` or `key.setting=value` on top.

    A value with commas is a list. A value in brackets is YAML, for instance
    `[none, {name: retrain, images: 40}]`. Text in quotes is one text, whatever it holds.

    A component that the request has with settings keeps them when it is named: in a grid with
    `{name: fine_tune, epochs: 8}`, `defense=fine_tune` has 8 epochs.

    Raises:
        UserError: a flag has no key or no value, brackets hold no YAML, a list is the name of one
            file or folder, or as `change` does.
    """
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key:
            raise UserError(f"--set {quoted(assignment)}: expected key=value, for instance "
                            "attack.alpha=0.05,0.1")
        value = _value(key, text)
        if key in NAMED:
            value = _as_written(key, request.get(key), value)
        request = change(request, key, value)
    return request


def _as_written(key: str, written: Any, value: Any) -> Any:
    """A value, with each name in it replaced by the choices of that name that a request has.

    >>> _as_written("defense", ["none", {"name": "fine_tune", "epochs": 8}], ["fine_tune", "jpeg"])
    [{'name': 'fine_tune', 'epochs': 8}, 'jpeg']
    """
    field = "target" if key in ATTACKS else "name"
    choices = written if isinstance(written, list) else [written]

    def named(name: Any) -> list[Any]:
        return [choice for choice in choices if choice == name or
                isinstance(choice, dict) and choice.get(field) == name] or [name]

    if isinstance(value, list):
        return [choice for name in value for choice in named(name)]
    chosen = named(value)
    return chosen if len(chosen) > 1 else chosen[0]


def change(request: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """The request with a key, for instance `seed` or `attack.alpha`, changed; a list is an axis.

    Where the key is an axis, each of its choices gets the setting. The attack `none` and the
    defense `none` have no settings and are left as they are. Raises UserError where no choice could
    have the setting.
    """
    extent([request, value])  # a list that holds itself could not be copied
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
        raise UserError(f"{key}: expected a mapping of settings, got {quoted(choice)}"
                        f"{quoting_hint(key, choice)}")
    return choice or {}


def _with(given: Any, key: str, setting: str, value: Any) -> list[Any]:
    """The choices of a key, each with a setting changed. Raises UserError if none could have it."""
    choices = [as_mapping(key, choice)
               for choice in (given if isinstance(given, list) else [given])]
    changed = [choice for choice in choices if choice is not None and choice.get("name") != "none"]
    if not changed:
        raise UserError(f"--set {cut(f'{key}.{setting}')}: there is no {cut(key)} that could have "
                        "settings")
    first, dot, inner = setting.partition(".")
    for choice in changed:
        choice[first] = _with(choice.get(first, {}), first, inner, value) if dot else value
    return choices


def _value(key: str, text: str) -> Any:
    """The value of a flag: one scalar, a list of those that commas separate, or YAML in brackets.

    Raises UserError where brackets in place of components hold no YAML, or the whole text is rather
    the name of a file or folder.
    """
    if text.lstrip().startswith(BRACKETS) and not _exists(text):
        try:
            return parse(text)
        except InvalidYaml as error:
            if key in NAMED:  # no component has a name like that, but a folder may
                raise UserError(f"--set {cut(f'{key}={text}')}: not readable as YAML: {error}"
                                ) from None
    values = [_scalar(part) for part in _parts(text)]
    value = values if len(values) > 1 else values[0]
    if len(values) > 1 and all(isinstance(part, str) for part in values):
        reading = "values with commas are an axis of the grid"
    elif value is None and text:
        reading = "it reads as no value"
    else:
        return value
    if _exists(text):
        raise UserError(f"--set {cut(f'{key}={text}')}: {reading}; the file or folder of that name "
                        f"is given in quotes: --set '{cut(key)}=\"{cut(text)}\"'")
    return value


def _parts(text: str) -> list[str]:
    """The parts of a text between commas. A comma in quotes separates nothing.

    >>> _parts('0.1,0.2'), _parts('"my, data",b')
    (['0.1', '0.2'], ['"my, data"', 'b'])
    """
    parts, start = [], 0
    while start <= len(text):
        part = PART.match(text, start)
        parts.append(part[0])
        start = part.end() + 1  # after the comma
    return parts


def _scalar(text: str) -> Any:
    """The value that a text means in YAML; the text itself where that is not what was written."""
    try:
        value = parse(text)
    except InvalidYaml:
        return text
    cut_off = isinstance(value, str) and " #" in text and text.strip()[0] not in "\"'"
    undone = value is None and text.strip() not in NOTHING  # an anchor without a value: `&a`
    return text.strip() if cut_off or undone else value


def _exists(path: str) -> bool:
    """Whether a text is the path of something; a text that cannot be a path is not."""
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        return False
