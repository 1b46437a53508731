"""Component checks: whether a defense, trigger or target that an entry names can be what it says.

A component of this project has known versions and settings. One of a plugin is not loaded; of it,
the name and the version must be possible. No file that an entry names is opened.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from attacks.parts.look import Framed
from benchmark.registry import build, find, is_plugin, names, resolve, settings_of
from benchmark.results.record import Choice
from benchmark.utils.errors import UserError

KeyProblem = tuple[str, str]  # the key, and what is wrong with its value
# A file in a record: its name and the start of its hash, as `weights.described` writes them.
FILE = r"[^/\\]{1,200} sha256 [0-9a-f]{12}"
LOOK = "look"  # the setting of a trigger that names another one, which it draws
# The version of such a trigger: its own, then the other's name and version.
DRAWN_VERSION = r"\d{1,3}(, \w{1,100} (\d{1,3}|[0-9a-f]{12}))+"


def check_name(kind: str, name: str) -> Iterator[KeyProblem]:
    """The name is that of a file of Python, and does not look like another of this project."""
    if not re.fullmatch(r"[A-Za-z_]\w{0,99}", name, re.ASCII):
        yield f"{kind}.name", (f"{name[:60]!r}; expected the name of a {kind}, at most 100 "
                               "letters, digits and _")
        return
    similar = {_letters(known): known for known in names(kind)}.get(_letters(name), name)
    if similar != name:
        yield f"{kind}.name", f"{name!r}; expected a name that is not so similar to {similar!r}"


def _letters(name: str) -> str:
    return name.replace("_", "").lower()


def check_version(kind: str, choice: Choice) -> Iterator[KeyProblem]:
    """The version is one of this project's, or can be that of a plugin or of a fork."""
    name, version, key = choice.name, choice.version, f"{kind}.version"
    if kind == "trigger" and _draws_another(name):
        if not isinstance(version, str) or not re.fullmatch(DRAWN_VERSION, version, re.ASCII):
            yield key, (f"{version!r:.60}; expected its own version and that of the trigger that "
                        "it draws, such as '1, blended 1'")
    elif is_ours(kind, name):
        latest = find(kind, name).version
        if version not in range(1, latest + 1):
            yield key, (f"{version!r:.60}; expected 1 to {latest}, because {name} is not a plugin")
    elif isinstance(version, str) and not re.fullmatch("[0-9a-f]{12}", version):
        yield key, f"{version[:60]!r}; expected 12 hex digits, the hash of a plugin"
    elif isinstance(version, int) and version < 1:
        yield key, f"{version}; expected a whole number from 1"


def is_ours(kind: str, name: str) -> bool:
    """Whether a component is one of this project, and not a plugin."""
    return name in names(kind) and not is_plugin(kind, name)


def check_settings(kind: str, choice: Choice) -> Iterator[KeyProblem]:
    """A component of this project in its present version can have these settings, exactly so."""
    if not is_present(kind, choice):
        return
    known = _checkable_settings(kind, choice)
    try:
        expected = resolve(kind, choice.name, known)
    except UserError as error:
        yield f"{kind}.resolved", str(error)
        return
    as_json = Choice(name=choice.name, resolved=expected).model_dump(mode="json")["resolved"]
    for key, value in known.items():
        if _text(value) != _text(as_json[key]):
            yield f"{kind}.resolved.{key}", f"{_text(value):.60}; expected {_text(as_json[key])}"
    for key in sorted(choice.resolved.keys() - known.keys()):
        value = choice.resolved[key]
        if not (_drawn_name(value) if key == LOOK else _is_file(value)):
            yield f"{kind}.resolved.{key}", (f"{_text(value):.60}; expected the name and the hash "
                                             "of a file, as a run writes them")


def is_present(kind: str, choice: Choice) -> bool:
    """Whether a component is one of this project, in its present version."""
    if not is_ours(kind, choice.name):
        return False
    latest = find(kind, choice.name).version
    if kind == "trigger" and _draws_another(choice.name):
        return str(choice.version).partition(",")[0] == str(latest)
    return choice.version == latest


def present(kind: str, choice: Choice) -> Any:
    """The component itself, if it is one of this project and needs no file; else None."""
    is_checkable = is_present(kind, choice) and _checkable_settings(kind, choice) == choice.resolved
    try:
        return build(kind, choice.name, choice.resolved) if is_checkable else None
    except UserError:  # reported by `check_settings`
        return None


def _draws_another(name: str) -> bool:
    """Whether a trigger of this project draws another one, which it names in the setting LOOK."""
    return is_ours("trigger", name) and issubclass(find("trigger", name), Framed)


def _checkable_settings(kind: str, choice: Choice) -> dict[str, Any]:
    """The settings that can be checked without a file: no path, and no trigger of a plugin."""
    return {key: value for key, value in choice.resolved.items()
            if _is_checkable(kind, choice.name, key, value)}


def _is_checkable(kind: str, name: str, key: str, value: Any) -> bool:
    field = settings_of(find(kind, name)).model_fields.get(key)
    if field is None or value is None:  # an unknown key is reported
        return True
    if key == LOOK and kind == "trigger" and _draws_another(name):
        drawn = _drawn_name(value)
        inner = value if isinstance(value, dict) else {}
        return bool(drawn) and is_ours("trigger", drawn) and all(
            _is_checkable("trigger", drawn, setting, item)
            for setting, item in inner.items() if setting != "name")
    return "Path" not in str(field.annotation)


def _drawn_name(look: Any) -> str:
    """The name of the trigger that a look is; '' if it cannot be a name."""
    name = look.get("name") if isinstance(look, dict) else look
    return name if isinstance(name, str) and not [*check_name("trigger", name)] else ""


def _is_file(value: Any) -> bool:
    return isinstance(value, str) and bool(re.fullmatch(FILE, value))


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
