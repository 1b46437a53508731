"""Content hashes: the keys of the store."""

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class PinnedFile:
    """A file that is known by the hash of its bytes, wherever it lies.

    name: its file name. sha256: hex digits. licence: its authors'. origin: where it comes from,
    for messages.
    """

    name: str
    sha256: str
    licence: str
    origin: str

    def __str__(self) -> str:
        """The file as text for a record, as that of `benchmark.weights.described`."""
        return with_hash(self.name, self.sha256)


def content_key(facts: Any) -> str:
    """The key of JSON-like values: the first 20 hex digits of a SHA-256 hash.

    A path to a file, and a pinned file, count by the bytes of the file; the name does not matter.

    >>> content_key({"b": 1, "a": 2}) == content_key({"a": 2, "b": 1})
    True
    """
    text = json.dumps(by_content(facts), sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def file_sha256(path: Path) -> str:
    """The SHA-256 hash of a file, as hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def by_content(facts: Any) -> Any:
    """The same values, with each file replaced by its hash."""
    if isinstance(facts, dict):
        return {str(key): by_content(value) for key, value in facts.items()}
    if isinstance(facts, (list, tuple)):
        return [by_content(value) for value in facts]
    if isinstance(facts, PinnedFile):
        return f"sha256:{facts.sha256}"
    if isinstance(facts, Path):
        if not facts.is_file():
            return str(facts)
        return f"sha256:{remembered_sha256(facts)}"
    return facts


def with_hash(name: str, sha256: str) -> str:
    """A file as text for a record: its name and the first 12 digits of its SHA-256 hash."""
    return f"{name} sha256 {sha256[:12]}"


def remembered_sha256(path: Path) -> str:
    """The SHA-256 hash of a file, read once for as long as the file does not change."""
    return _digest(path, path.stat().st_mtime_ns)


@cache
def _digest(path: Path, changed: int) -> str:
    """The hash of a file, remembered until the time of its last change (in ns) differs."""
    return file_sha256(path)
