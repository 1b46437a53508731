"""Content hashes: the keys of the store."""

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any


def content_key(facts: Any) -> str:
    """A name for JSON-like facts: 20 hex digits of SHA-256. A file counts by its bytes, not by its path.

    >>> content_key({"b": 1, "a": 2}) == content_key({"a": 2, "b": 1})
    True
    """
    text = json.dumps(_by_content(facts), sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _by_content(facts: Any) -> Any:
    if isinstance(facts, dict):
        return {str(key): _by_content(value) for key, value in facts.items()}
    if isinstance(facts, (list, tuple)):
        return [_by_content(value) for value in facts]
    if isinstance(facts, Path):
        return f"sha256:{_digest(facts, facts.stat().st_mtime_ns)}" if facts.is_file() else str(facts)
    return facts


@cache
def _digest(path: Path, changed: int) -> str:
    """A file's hash; it is read again only when it was changed."""
    return _sha256(path)
