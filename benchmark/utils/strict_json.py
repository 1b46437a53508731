"""Strict JSON: files from strangers are read within limits, and every reader parses them alike."""

import json
import math
import stat
from collections import Counter
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError

from benchmark.utils.errors import printable

MOST_BYTES = 16 * 2**20  # in a file
DEEPEST = 20  # levels of nesting; a record has 8
MOST_KEYS = 5000  # in an object
LONGEST = 400  # characters of a line that `one_line` returns

Model = TypeVar("Model", bound=BaseModel)


class InvalidFile(ValueError):
    """The content of a file is not accepted.

    key: the place in the file. what: the reason, in a few words.
    """

    def __init__(self, key: str, what: str):
        super().__init__(f"{key}: {what}")
        self.key = key
        self.what = what


def read_bytes(path: str | Path, most: int = MOST_BYTES) -> bytes:
    """Read a regular file of at most `most` bytes; the size is checked before anything is read.

    Raises:
        InvalidFile: the file is larger, is no regular file, or cannot be read.
    """
    try:
        status = Path(path).stat()
        if not stat.S_ISREG(status.st_mode):
            raise InvalidFile("file", "expected a regular file")
        if status.st_size > most:
            raise InvalidFile("file", f"{status.st_size} bytes; expected at most {most}")
        return Path(path).read_bytes()
    except OSError as error:
        raise InvalidFile("file", error.strerror or str(error)) from None


def parse(data: bytes) -> Any:
    """Parse JSON that has one meaning for every reader.

    It is UTF-8 and has finite numbers, integers of 64 bits, at most DEEPEST levels of nesting, and
    at most MOST_KEYS keys in an object, none of them twice.

    Raises:
        InvalidFile: the bytes are anything else.
    """
    if not data.strip():
        raise InvalidFile("file", f"{len(data)} bytes without content; expected JSON")
    try:
        value = json.loads(data.decode(), object_pairs_hook=_object, parse_int=_integer,
                           parse_float=_float, parse_constant=_refuse_constant)
        _check_depth_and_text(value)
    except RecursionError:
        raise _too_deep() from None
    except UnicodeError as error:  # also raised for half a surrogate pair, spelled as \ud800
        raise InvalidFile("JSON", f"not UTF-8: {error}") from None
    except json.JSONDecodeError as error:
        raise InvalidFile("JSON", str(error)) from None
    return value


def parse_as(model: type[Model], data: bytes) -> Model:
    """Parse strict JSON and validate it against a model.

    Raises:
        InvalidFile: with the first thing that is wrong.
    """
    return validate_as(model, parse(data))


def validate_as(model: type[Model], value: Any) -> Model:
    """Validate a JSON value against a model.

    Nothing is converted: true, 1.0 and "1" are not the whole number 1.

    Raises:
        InvalidFile: with the first thing that is wrong.
    """
    try:
        return model.model_validate(value, strict=True)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        what = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            what = "unknown key, which is not permitted here"
        raise InvalidFile(key or model.__name__.lower(), what) from None


def one_line(text: object) -> str:
    """A whole message as one line of printable characters, cut to LONGEST characters.

    `errors.shown` is for a value or a name in a message.

    >>> one_line("a\\nb\\x1b[0m")
    'a\\\\nb\\\\x1b[0m'
    """
    line = printable(str(text)[:LONGEST + 1])
    return line if len(line) <= LONGEST else f"{line[:LONGEST - 3]}..."


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; it has not too many keys and none twice."""
    if len(pairs) > MOST_KEYS:
        raise InvalidFile("JSON", f"an object with {len(pairs)} keys; expected at most {MOST_KEYS}")
    values = dict(pairs)
    if len(values) != len(pairs):
        repeated, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        raise InvalidFile("JSON", f"key {repeated!r} occurs twice; expected each key once")
    return values


def _refuse_constant(name: str) -> NoReturn:
    """Refuse NaN and the infinities, which Python's parser accepts though JSON has none."""
    raise InvalidFile("JSON", f"{name}; expected finite numbers")


def _float(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise InvalidFile("JSON", f"{digits[:20]} is too large; expected finite numbers")
    return value


def _integer(digits: str) -> int:
    # More than 20 characters are refused before `int`, which is slow for very long numbers.
    if len(digits) > 20 or not -2**63 <= int(digits) < 2**63:
        raise InvalidFile("JSON", f"{digits[:20]} is too large; expected integers of 64 bits")
    return int(digits)


def _check_depth_and_text(value: Any) -> None:
    """Walk down a value level by level: at most DEEPEST levels, all text can be encoded in UTF-8.

    Raises:
        InvalidFile: it is nested too deep.
        UnicodeError: a text or a key holds half a surrogate pair.
    """
    level = [value]
    for _ in range(DEEPEST):
        "".join(node for node in level if isinstance(node, str)).encode()
        next_level = []
        for node in level:
            if isinstance(node, dict):
                next_level += node.keys()
                next_level += node.values()
            elif isinstance(node, list):
                next_level += node
        if not next_level:
            return
        level = next_level
    raise _too_deep()


def _too_deep() -> InvalidFile:
    return InvalidFile("JSON", f"nested too deep; expected at most {DEEPEST} levels")
