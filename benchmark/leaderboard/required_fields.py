"""Required fields: what an entry's records must hold besides what every record does.

These fields may be missing, and hold other keys, in a record of one's own. In an entry they are as
a run writes them, so that nothing stands in it that nobody checks.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from benchmark.leaderboard.manifest import Sha256
from benchmark.results.record import MOST_IMAGES, Record
from benchmark.utils.strict_json import validate_as

LONGEST_STAGE = 10**7  # seconds, which are almost four months

Fingerprint = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
Line = Annotated[str, Field(max_length=300)]
Given = Annotated[int, Field(ge=0, le=MOST_IMAGES)]
Number = Annotated[int, Field(ge=0, le=10**9)]
StageKey = Annotated[str, Field(pattern="^[0-9a-f]{20}$")]
Commit = Annotated[str, Field(pattern="^[0-9a-f]{7,40}$")]


def _tenths(seconds: float) -> float:
    if seconds != round(seconds, 1):
        raise ValueError(f"{seconds!r}; expected seconds with one decimal, as a run writes them")
    return seconds


def _above_zero(seconds: float) -> float:
    if seconds == 0:
        raise ValueError("0; expected more, because a counter was trained")
    return seconds


Seconds = Annotated[float, Field(ge=0, le=LONGEST_STAGE), AfterValidator(_tenths)]


class _Fields(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Scoring(_Fields):
    key: StageKey | None = None
    seconds: Seconds | None = None
    device: Line | None = None


class _Counter(_Scoring):
    weights_sha256: Sha256
    best_epoch: Number | None = None
    validation: list[list[int | float]] = []


class _TrainedCounter(_Counter):
    seconds: Annotated[Seconds, AfterValidator(_above_zero)] | None = None


class _Stages(_Fields):
    clean: _TrainedCounter
    victim: _TrainedCounter
    repaired: _Counter
    control: _Counter | None = None  # a record of before 2026-11-29 does not name it
    detection: _Scoring | None = None


class _Splits(_Fields):
    train: Fingerprint
    test: Fingerprint


class _Provenance(_Fields):
    """The keys of `environment.provenance`, of circumstances.py and of record_builder.py."""

    data: _Splits
    stages: _Stages
    weights: Line | None = None
    commit: Commit | None = None
    dirty: bool | None = None
    crowdbench: Line | None = None
    python: Line | None = None
    packages: dict[Line, Line] = {}
    device: Line | None = None
    device_name: Line | None = None
    system: Line | None = None
    cores: Number | None = None
    threads: Number | None = None
    processes: Number | None = None
    precision: Literal["fp32", "bf16", "fp16"] | None = None
    switches: dict[Line, Any] = {}
    also_made_with: dict[Line, list[Any]] = {}


class _Training(_Fields):
    given: dict[str, Any]
    resolved: dict[str, Any]
    scale: float
    hold_out: float


class _Knowledge(_Fields):
    clean: Given = 0
    extra: Given = 0
    poisoned: Given = 0
    validation: Given = 0


class _RequiredFields(_Fields):
    training: _Training
    knowledge: _Knowledge
    provenance: _Provenance


def check_fields(record: Record) -> None:
    """Raise InvalidFile if a field that a run writes is missing or unknown, or has another type."""
    validate_as(_RequiredFields, record.model_dump(include={*_RequiredFields.model_fields}))
