"""An entry of the leaderboard on disk: PROTOCOL/DEFENSE/REVISION/ with entry.json and cells/*.json.

The cells are the records that a run wrote, byte for byte: those of one defense, of no defense, and of the controls. The
revision is a hash of them, so that the path says what it must hold. Beside them may lie reruns/*.json, the records of
cells that somebody else ran again.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from benchmark.registry import Settings
from benchmark.results.record import Choice

FILE, CELLS, RERUNS = "entry.json", "cells", "reruns"
MOST_CELLS = 1000
MOST_MANIFEST = 2**20  # bytes
MOST_TOTAL = 64 * 2**20  # of all cells together


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("expected printable characters on one line")
    return text


Part = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,149}$")]  # of a path
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Text = Annotated[str, Field(min_length=1, max_length=300), AfterValidator(_printable)]


class Manifest(Settings):
    """What entry.json says. name, paper and code are the submitter's words; all else follows from the cells.

    defense: its name, version and settings. cells: SHA-256 of each file. crowdbench: the version that wrote it.
    """

    schema_version: Literal[1] = 1
    name: Text
    paper: Text
    code: Text
    protocol: Part
    defense: Choice
    tier: Literal["self-reported"] = "self-reported"
    cells: dict[Part, Sha256]
    crowdbench: Text

    def dumps(self) -> str:
        """The manifest as JSON text, the same bytes for the same manifest."""
        return json.dumps(self.model_dump(mode="json"), indent=1, sort_keys=True, allow_nan=False) + "\n"


def revision(cells: Mapping[str, str]) -> str:
    """The name of cells, from their files' names and SHA-256.

    In a folder of cells, `LC_ALL=C; sha256sum *.json | sha256sum | cut -c-12` prints the same.
    """
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(cells.items()))
    return hashlib.sha256(lines.encode()).hexdigest()[:12]


def chosen(defense: Choice) -> Choice:
    """A defense as an entry knows it: whatever settings were given, all of them."""
    return defense.model_copy(update={"given": {}})
