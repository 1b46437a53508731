"""Mutations: damaged and hostile variants of sound inputs, drawn from a seed.

All draws come from a `random.Random`, so that a seed gives the same input on every machine.
"""

import copy
import json
from random import Random
from typing import Any

# Values that are wrong, or only just right, in most places.
VALUES = [None, True, False, 0, -1, 1, 2, 2**63, -(2**70), 10**400, 0.0, -0.5, 1e308, 1e-320, float("nan"), float("inf"),
          "", " ", "-h", "--help", "a" * 5000, "é", "e\u0301", "\u202e", "\x00", "\x1b[31m", "\ud800", "../../x",
          "/dev/zero", "~", "2024", "no", "1e3", "=1+1", "<script>", "{}", "%s", "$x$", [], {}, [[]], [None] * 50,
          {"name": "tiny"}, {"": ""}, {"__class__": "x"}, [1, [2, [3, [4]]]]]
# Pieces of YAML that other parsers have fallen over.
YAML = ["&a", "*a", "<<: *a", "!!python/object/apply:os.system [x]", "!!binary |", "!x", "[" * 200, "{" * 200, ": ", "- ", "\t",
        "---\n", "...\n", "? ", "| \n", "> \n", "%TAG ! x\n", "2024-01-01", ".inf", ".nan", "0x10", "1_000", "~", "'", '"', "#",
        "\ufeff", "\x85", "\u2028", "\x00", "range(9)", "@x", "`"]
NAMES = ["a b.png", "a,b.png", "é.png", "e\u0301.png", "-h.png", "#.png", "2024", "A1.PNG", "a1.JPG", ".hidden.png",
         "x" * 200 + ".png", "a\nb.png", "a\udcff.png", "a1.png.png", "Thumbs.db", "__MACOSX", "no"]


def bytes_of(data: bytes, rng: Random) -> bytes:
    """Bytes that are cut, repeated, flipped, or have others put between them."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        start = rng.randrange(len(changed) + 1)
        stop = min(start + rng.choice([1, 2, 8, 64, 4096]), len(changed))
        kind = rng.choice(["cut", "end", "flip", "repeat", "insert", "zero"])
        if kind == "cut":
            del changed[start:stop]
        elif kind == "end":
            del changed[start:]
        elif kind == "flip":
            changed[start:stop] = bytes(byte ^ rng.choice([1, 128, 255]) for byte in changed[start:stop])
        elif kind == "repeat":
            changed[start:start] = changed[start:stop] * rng.choice([1, 3])
        elif kind == "zero":
            changed[start:stop] = bytes(stop - start)
        else:
            changed[start:start] = rng.randbytes(rng.choice([1, 7, 100]))
    return bytes(changed)


def text_of(text: str, rng: Random) -> str:
    """YAML in which pieces, lines or values are exchanged."""
    lines = text.split("\n")
    for _ in range(rng.randint(1, 4)):
        number = rng.randrange(len(lines))
        line = lines[number]
        kind = rng.choice(["piece", "value", "drop", "repeat", "indent", "swap"])
        if kind == "piece":
            place = rng.randrange(len(line) + 1)
            lines[number] = line[:place] + rng.choice(YAML) + line[place:]
        elif kind == "value":
            key = line.partition(":")[0]
            lines[number] = f"{key}: {_as_yaml(rng.choice(VALUES))}"
        elif kind == "drop":
            lines[number] = ""
        elif kind == "repeat":
            lines[number:number] = [line] * rng.choice([1, 20])
        elif kind == "indent":
            lines[number] = " " * rng.randint(1, 3) + line
        else:
            other = rng.randrange(len(lines))
            lines[number], lines[other] = lines[other], line
    return "\n".join(lines)


def _as_yaml(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if not isinstance(value, float) else repr(value)


def value_of(value: Any, rng: Random) -> Any:
    """A JSON value in which a few parts, at any depth, are exchanged, removed, renamed or doubled."""
    value = copy.deepcopy(value)
    for _ in range(rng.randint(1, 3)):
        parent = value
        while isinstance(parent, dict | list) and parent:
            key = rng.choice(list(parent)) if isinstance(parent, dict) else rng.randrange(len(parent))
            child = parent[key]
            if not (isinstance(child, dict | list) and child) or rng.random() < 0.3:
                _exchange(parent, key, rng)
                break
            parent = child
    return value


def _exchange(parent: dict | list, key: Any, rng: Random) -> None:
    """Change the part of a dict or list that a key or an index leads to."""
    kind = rng.choice(["value", "value", "value", "remove", "rename", "near"])
    if kind == "value":
        parent[key] = copy.deepcopy(rng.choice(VALUES))
    elif kind == "remove":
        del parent[key]
    elif kind == "near" and isinstance(parent[key], int | float):
        parent[key] = rng.choice([-1, 1.5, 0.999]) * parent[key]
    elif isinstance(parent, dict):
        parent[rng.choice(["x", "", "name", "seed", "a" * 300])] = parent.pop(key)
    else:
        parent.append(copy.deepcopy(parent[key]))


def json_of(value: Any) -> str:
    """JSON with whatever Python can write: nan, surrogates, numbers without end."""
    return json.dumps(value)
