"""The record of one cell: what was run, on what, and the counts per image. JSON, nothing else.

Every published number is recomputed from `images`; a record stores no metric.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator
from typing_extensions import TypedDict

from benchmark.registry import Settings
from benchmark.utils.errors import UserError
from benchmark.utils.strict_json import InvalidFile, load, read_bytes, shown

SCHEMA = 1
MOST_IMAGES = 10**5

Name = Annotated[str, Field(min_length=1, max_length=200)]
Column = Field(max_length=MOST_IMAGES, fail_fast=True)  # one wrong value is enough to be told
Ids = Annotated[list[Name], Column]
People = Annotated[list[Annotated[int, Field(strict=True, ge=0, le=10**6)]], Column]
Numbers = Annotated[list[Annotated[float, Field(strict=True)]], Column]


class Choice(Settings):
    """A registered entry and its settings, those that the user gave and all of them.

    version: a number that its author raises; of a plugin, a hash of its file.
    """

    name: Name
    version: int | Name = 1
    given: dict[str, Any] = {}
    resolved: dict[str, Any] = {}


class AttackChoice(Settings):
    """A trigger, a target, and which training images carry them.

    test_trigger: the trigger of the test images, where it is another than in training.
    images: training images before any was added; so `poisoned` is a share of them, and of them and itself.
    psnr, ssim: of some of the stamped training images, beside their originals.
    also: another attack that the victim is poisoned with; the test images do not carry its trigger.
    """

    trigger: Choice
    target: Choice
    poison_rate: float
    increases: bool | None  # the direction of the target: more people, fewer, or the same number (None)
    poisoned: Ids  # ids of the training images that were copied, stamped and relabelled
    test_trigger: Choice | None = None
    choose: str | None = None  # which were poisoned; None is the target's own choice
    latent: float = 0.0  # weight of what hid the trigger in the features while the victim was trained
    images: int | None = None
    psnr: Numbers = []
    ssim: Numbers = []
    also: "AttackChoice | None" = None


class Images(Settings):
    """Columns of equal length, one row per test image; counts in people.

    target and *triggered are None where there is no attack, reference_* where there is no clean counter.
    """

    id: Ids
    truth: People
    clean: Numbers
    reference_clean: Numbers | None = None
    target: Numbers | None = None
    triggered: Numbers | None = None
    reference_triggered: Numbers | None = None

    @property
    def checksum(self) -> str:
        """SHA-256 of the ids and the true counts."""
        return hashlib.sha256(json.dumps([self.id, self.truth]).encode()).hexdigest()

    @model_validator(mode="after")
    def _equal_lengths(self) -> Self:
        columns = {key: value for key, value in self if value is not None}
        lengths = {len(value) for value in columns.values()}
        if len(lengths) != 1 or lengths == {0}:
            raise ValueError("the columns must be non-empty and of equal length")
        if len(set(self.id)) != len(self.id):
            raise ValueError("an image id occurs twice")
        if (self.target is None) != (self.triggered is None):
            raise ValueError("target and triggered belong together")
        if (self.reference_triggered is None) != (self.triggered is None or self.reference_clean is None):
            raise ValueError("reference_triggered belongs to triggered and reference_clean")
        return self


class Detection(Settings):
    """Scores of a detector, higher is more suspicious.

    of: 'test images', as in `Images`; 'training images', the poisoned set; 'counters', a victim's beside a clean one's.
    drift: of the clean test images in another light. reference_*: of a clean counter, told by the same detector.
    """

    of: Literal["test images", "training images", "counters"]
    clean: Numbers
    triggered: Numbers = []
    drift: Numbers = []
    reference_clean: Numbers = []
    reference_triggered: Numbers = []


class Training(TypedDict, total=False):
    """What is read of how a counter was trained; the rest is free."""

    __pydantic_config__ = ConfigDict(extra="allow")
    given: dict[str, Any]
    resolved: dict[str, Any]
    scale: int | float
    hold_out: int | float


class MadeStage(TypedDict, total=False):
    """What is read of a stage that a record was made of."""

    __pydantic_config__ = ConfigDict(extra="allow")
    key: str
    seconds: int | float | None


class Provenance(TypedDict, total=False):
    """What is read of where a record comes from; the rest is free."""

    __pydantic_config__ = ConfigDict(extra="allow")
    stages: dict[str, MadeStage]
    data: dict[str, Any]
    commit: str | None


class Record(Settings):
    """One cell of the grid: (data, model, attack, defense, seed) and what was counted.

    protocol: the frozen grid that it belongs to, with its number, for instance 'standard-1'.
    audit: the counter was given; `training` is how a defense trained it further, and nobody knows what was poisoned.
    variant: 'text' or 'code', the reading of the paper that the settings follow.
    reference_*: counts of the clean model, trained with the same settings and seed without the attack; an audit has
        none.
    knowledge: how many images of each sort the defense was handed, and on how many it chose its epoch.
    warnings: what a reader must know, for instance 'weights: from scratch' or 'checkpoint chosen on the test split'.
    """

    schema_version: int = Field(SCHEMA, ge=1, le=SCHEMA)
    protocol: str | None = None
    audit: bool = False
    variant: str
    seed: int = Field(strict=True, ge=0, lt=2**63)
    data: Choice
    model: Choice
    attack: AttackChoice | None
    defense: Choice
    training: Training
    knowledge: dict[str, Annotated[int, Field(strict=True, ge=0, le=MOST_IMAGES)]] = {}
    provenance: Provenance = {}
    warnings: Annotated[list[str], Column] = []
    images: Images
    detection: Detection | None = None

    @model_validator(mode="after")
    def _attack_was_counted(self) -> Self:
        if (self.attack is None) != (self.images.triggered is None):
            raise ValueError("an attack and the triggered counts belong together")
        if self.audit != (self.images.reference_clean is None):
            raise ValueError("an audit has no reference counts, and any other record has them")
        if self.detection and self.detection.of == "test images":
            lengths = {len(scores) for key, scores in self.detection if key != "of"} - {0}
            if lengths != {len(self.images.id)}:
                raise ValueError(f"detection: expected a score for each of {len(self.images.id)} images")
        return self

    @classmethod
    def read(cls, path: str | Path) -> "Record":
        """Read and check a record, also one that a stranger wrote.

        Raises:
            UserError: the file is too large, not strict JSON, or not a record.
        """
        try:
            return cls.parse(read_bytes(path))
        except InvalidFile as refused:
            raise UserError(f"record {path}: {shown(refused)}") from None

    @classmethod
    def parse(cls, data: bytes) -> "Record":
        """The record that a file holds. Raises InvalidFile."""
        record = load(cls, data)
        for key, text in record._names():
            if not text.isprintable():
                raise InvalidFile(key, f"{text!r}; expected printable characters")
        return record

    def _names(self) -> Iterator[tuple[str, str]]:
        """What names something, and where it stands."""
        yield from {"protocol": self.protocol or "", "variant": self.variant, "data.name": self.data.name,
                    "model.name": self.model.name, "defense.name": self.defense.name}.items()
        yield from (("images.id", name) for name in self.images.id)
        attack, at = self.attack, "attack"
        while attack:
            yield from {f"{at}.trigger.name": attack.trigger.name, f"{at}.target.name": attack.target.name}.items()
            yield from ((f"{at}.poisoned", name) for name in attack.poisoned)
            attack, at = attack.also, f"{at}.also"

    def dumps(self) -> str:
        """The record as JSON text, the same bytes for the same record."""
        return json.dumps(self.model_dump(mode="json"), indent=1, sort_keys=True, allow_nan=False) + "\n"


def schema() -> dict[str, Any]:
    """The JSON Schema of a record; docs/record.schema.json holds it."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | Record.model_json_schema()
