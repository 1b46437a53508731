"""Files from strangers: read within bounds, parsed so that all readers see the same, and shown in one line."""

import json
import math
import stat
from collections import Counter
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError

MOST_BYTES = 16 * 2**20  # of one file
DEEPEST = 20  # levels of nesting; a record has 8
MOST_KEYS = 5000  # of one object
LONGEST = 400  # characters of a line that is shown

Model = TypeVar("Model", bound=BaseModel)


class InvalidFile(ValueError):
    """What a file holds is not accepted. key: where in it; what: why, in a few words."""

    def __init__(self, key: str, what: str):
        super().__init__(f"{key}: {what}")
        self.key, self.what = key, what


def read_bytes(path: str | Path, most: int = MOST_BYTES) -> bytes:
    """A regular file of at most `most` bytes; a larger one is not read. Raises InvalidFile."""
    try:
        about = Path(path).stat()
        if not stat.S_ISREG(about.st_mode):
            raise InvalidFile("file", "expected a regular file")
        if about.st_size > most:
            raise InvalidFile("file", f"{about.st_size} bytes; expected at most {most}")
        return Path(path).read_bytes()
    except OSError as error:
        raise InvalidFile("file", error.strerror or str(error)) from None


def parse(data: bytes) -> Any:
    """Strict JSON in UTF-8: finite numbers of 64 bits, at most DEEPEST levels, no key twice in an object.

    Raises:
        InvalidFile: it is anything else.
    """
    try:
        value = json.loads(data.decode(), object_pairs_hook=_unique, parse_constant=_not_finite, parse_float=_finite,
                           parse_int=_integer)
        _check_levels(value)
    except RecursionError:
        raise _too_deep() from None
    except UnicodeError as error:  # also half a surrogate pair, which \u can spell
        raise InvalidFile("JSON", f"not UTF-8: {error}") from None
    except json.JSONDecodeError as error:
        raise InvalidFile("JSON", str(error)) from None
    return value


def load(model: type[Model], data: bytes) -> Model:
    """Strict JSON that fits a model. Raises InvalidFile with the first thing that is wrong."""
    return fit(model, parse(data))


def fit(model: type[Model], value: Any) -> Model:
    """A JSON value that fits a model. Raises InvalidFile with the first thing that is wrong."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise InvalidFile(".".join(map(str, first["loc"])) or model.__name__.lower(), first["msg"]) from None


def shown(text: object) -> str:
    """Any text as a short line of printable characters.

    >>> shown("a\\nb\\x1b[0m")
    'a\\\\nb\\\\x1b[0m'
    """
    line = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in
                   str(text)[:LONGEST + 1])
    return line if len(line) <= LONGEST else f"{line[:LONGEST - 3]}..."


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(pairs) > MOST_KEYS:
        raise InvalidFile("JSON", f"an object with {len(pairs)} keys; expected at most {MOST_KEYS}")
    if len(found) != len(pairs):
        twice, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        raise InvalidFile("JSON", f"key {twice!r} occurs twice")
    return found


def _not_finite(name: str) -> NoReturn:
    raise InvalidFile("JSON", f"{name}; expected finite numbers")


def _finite(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise InvalidFile("JSON", f"{shown(digits[:20])} is too large; expected finite numbers")
    return value


def _integer(digits: str) -> int:
    if len(digits) > 20 or not -2**63 <= int(digits) < 2**63:
        raise InvalidFile("JSON", f"{digits[:20]} is too large; expected integers of 64 bits")
    return int(digits)


def _check_levels(value: Any) -> None:
    level = [value]
    for _ in range(DEEPEST):
        "".join(node for node in level if isinstance(node, str)).encode()
        nested = [node for node in level if isinstance(node, (dict, list))]
        level = [child for node in nested for child in node]  # of an object, the keys
        level += [child for node in nested if isinstance(node, dict) for child in node.values()]
        if not level:
            return
    raise _too_deep()


def _too_deep() -> InvalidFile:
    return InvalidFile("JSON", f"nested too deep; expected at most {DEEPEST} levels")
