"""Sources of a dataset: records, each with the name and the hash of its file."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.leaderboard.load import read_record_files
from benchmark.results.record import Record
from benchmark.utils.errors import UserError, shown
from benchmark.utils.strict_json import InvalidFile, read_bytes


@dataclass(frozen=True)
class Source:
    """A record and its file. sha256: hash of the file's bytes, as an entry's manifest has it."""

    file: str
    sha256: str
    record: Record


def read_sources(paths: Sequence[Path]) -> list[Source]:
    """The records in files and folders, in an order that their contents determine.

    Raises:
        UserError: as `read_record_files` does.
    """
    return in_order(Source(path.name, _digest(path), record)
                    for path, record in read_record_files(paths))


def in_order(sources: Iterable[Source]) -> list[Source]:
    """Sources by protocol, data, model, attack, defense and seed."""
    return sorted(sources, key=_place)


def _place(source: Source) -> tuple[Any, ...]:
    record = source.record
    attack = (record.attack.trigger.name, record.attack.target.name) if record.attack else ()
    return (record.protocol or "", record.data.name, record.model.name, attack, record.defense.name,
            record.seed, source.sha256)


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(read_bytes(path)).hexdigest()
    except InvalidFile as error:  # it was there when the record was read
        raise UserError(f"record {shown(path)}: {error.what}") from None
