"""The index of a zoo: its stages, their files with sizes and hashes, and their origin."""

import json
from pathlib import Path
from typing import Annotated, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field

from benchmark.pipeline.store_admin import StoredStage
from benchmark.utils.errors import UserError, shown
from benchmark.utils.files import write_atomically
from benchmark.utils.hashing import file_sha256
from benchmark.utils.strict_json import InvalidFile, parse_as, read_bytes

INDEX = "index.json"
MOST_BYTES = 10**11  # of a file
KEY = r"^[0-9a-f]{20}$"
SHA256 = r"^[0-9a-f]{64}$"
# The kinds of stages that are shared, and all files that they may have. Counts are not shared,
# because whoever takes a counter from a zoo counts with it.
Kind = Literal["counters", "triggers"]
FileName = Literal["stage.json", "weights.safetensors", "info.json", "made.json", "poison.json",
                   "poison-also.json", "pattern.safetensors"]
KINDS = get_args(Kind)
Key = Annotated[str, Field(pattern=KEY)]
Line = Annotated[str, Field(max_length=300, pattern=r"^[^\x00-\x1f\x7f]*$")]


class _Fields(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SharedFile(_Fields):
    """A file in a zoo. size: in bytes. sha256: hex digits."""

    size: Annotated[int, Field(ge=0, le=MOST_BYTES)]
    sha256: Annotated[str, Field(pattern=SHA256)]

    @classmethod
    def of(cls, path: Path) -> Self:
        """The size and the hash of a file. Raises OSError."""
        return cls(size=path.stat().st_size, sha256=file_sha256(path))

    def is_at(self, path: Path) -> bool:
        """Whether this very file is at a path."""
        return (path.is_file() and path.stat().st_size == self.size
                and file_sha256(path) == self.sha256)


class SharedStage(_Fields):
    """A stage in a zoo.

    title: a name for people. needs: the keys of the stages that it was made from. precision: the
    one of its training. weights: where the initial weights came from. licence: theirs.
    rounded_from: for weights in 16 bits, the SHA-256 hash of the original file.
    files: all of its files, also its description.
    """

    kind: Kind
    title: Line
    needs: list[Key] = []
    precision: Line | None = None
    weights: Line | None = None
    licence: Line | None = None
    rounded_from: Annotated[str, Field(pattern=SHA256)] | None = None
    files: dict[FileName, SharedFile]

    @property
    def size(self) -> int:
        """The number of bytes of all files."""
        return sum(file.size for file in self.files.values())


class Index(_Fields):
    """The stages of a zoo, by their keys. format: raised when older readers could not read it."""

    format: Literal[1] = 1
    stages: dict[Key, SharedStage] = {}

    @property
    def size(self) -> int:
        """The number of bytes of all stages."""
        return sum(stage.size for stage in self.stages.values())


def read_index(path: Path, where: object) -> Index:
    """The index in a file. where: the zoo, for messages.

    Raises:
        UserError: it is missing, broken, or not that of a zoo.
    """
    try:
        index = parse_as(Index, read_bytes(path))
    except InvalidFile as error:
        raise UserError(f"zoo {shown(where)}: {INDEX}: {error.key}: {error.what}; expected a "
                        "folder that `crowdbench zoo push` has written") from None
    return index


def write_index(folder: Path, index: Index) -> None:
    """Write the index of a zoo, as a whole or not at all. Raises OSError."""
    content = index.model_dump(mode="json", exclude_defaults=True) | {"format": index.format}
    write_atomically(folder / INDEX, json.dumps(content, indent=1, sort_keys=True) + "\n")


def stage_folder(root: Path, key: str, stage: SharedStage | StoredStage) -> Path:
    """The folder of a stage, in a zoo as in a store."""
    return root / stage.kind / key
