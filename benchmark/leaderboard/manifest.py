"""Manifests: the layout of a leaderboard entry on disk, and what its entry.json says.

An entry is a folder PROTOCOL/DEFENSE/REVISION with entry.json and cells/*.json. The cells are
records, byte for byte as a run wrote them: those of one defense, of no defense, and of the
controls. The revision is a hash of the cells, so the path determines what the folder must hold.
The folder may also have reruns/*.json, the records of cells that somebody else ran again.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from benchmark.registry import Settings
from benchmark.results.record import Choice

FILE, CELLS, RERUNS = "entry.json", "cells", "reruns"
UNDEFENDED = Choice(name="none")
MOST_CELLS = 1000
MOST_MANIFEST = 2**20  # bytes of entry.json
MOST_TOTAL = 64 * 2**20  # bytes of all records in cells, or in reruns


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("expected printable characters on one line")
    return text


def _web_address(text: str) -> str:
    try:
        parts = urlsplit(text)
        host, user, _ = parts.hostname, parts.username, parts.port
    except ValueError:  # a host or a port that is none
        host = None
    is_plain = re.fullmatch(r"https?://[!-~]+", text) and not set(text) & set('<>"`\\')
    if not is_plain or not host or user is not None:
        raise ValueError("expected the address of a web page, http://... or https://..., in ASCII "
                         "and without spaces or a user's name")
    return text


PathPart = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,149}$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Text = Annotated[str, Field(min_length=1, max_length=300), AfterValidator(_printable)]
Url = Annotated[str, Field(max_length=300), AfterValidator(_web_address)]


class Manifest(Settings):
    """The contents of entry.json.

    name, paper, code: the words of the submitter. All other fields follow from the cells. The
        addresses of the paper and of the code may be corrected after publication.
    protocol: the frozen grid. defense: its name, version and settings.
    cells: the SHA-256 of each record, by the name of its file.
    crowdbench: the version of this package that wrote the manifest.
    """

    schema_version: Literal[1] = 1
    name: Text
    paper: Url
    code: Url
    protocol: PathPart
    defense: Choice
    tier: Literal["self-reported"] = "self-reported"
    cells: dict[PathPart, Sha256]
    crowdbench: Text

    def dumps(self) -> str:
        """The manifest as JSON text; the same manifest gives the same bytes."""
        fields = self.model_dump(mode="json")
        return json.dumps(fields, indent=1, sort_keys=True, allow_nan=False) + "\n"


def revision(cells: Mapping[str, str]) -> str:
    """The revision of an entry: the first 12 hex digits of a hash of its cells.

    cells: the SHA-256 of each record, by the name of its file.

    In the folder of the cells, `LC_ALL=C; sha256sum *.json | sha256sum | cut -c-12` prints the
    same digits.
    """
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(cells.items()))
    return hashlib.sha256(lines.encode()).hexdigest()[:12]


def without_given(defense: Choice) -> Choice:
    """A defense as an entry identifies it: by all its settings, whichever of them were given."""
    return defense.model_copy(update={"given": {}})


def identity(defense: Choice) -> str:
    """The name, the version and all settings of a defense as JSON, in which 1, 1.0 and true differ.

    The same defense gives the same text, whichever settings were given and in whichever order.
    """
    return json.dumps(without_given(defense).model_dump(mode="json"), sort_keys=True)
