"""Record of one cell: its settings, its provenance and the counts of every test image, as JSON.

A record stores no metric: every published number is recomputed from `images`.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (BeforeValidator, ConfigDict, Field, SerializerFunctionWrapHandler,
                      model_serializer, model_validator)
from typing_extensions import TypedDict

from benchmark.registry import Settings
from benchmark.strengths import StrengthChoice
from benchmark.utils.errors import UserError, shown
from benchmark.utils.strict_json import InvalidFile, one_line, parse_as, read_bytes

SCHEMA = 1
MOST_IMAGES = 10**5

Name = Annotated[str, Field(min_length=1, max_length=200)]
Column = Field(max_length=MOST_IMAGES, fail_fast=True)  # the first wrong value is error enough
Ids = Annotated[list[Name], Column]
People = Annotated[list[Annotated[int, Field(strict=True, ge=0, le=10**6)]], Column]
Numbers = Annotated[list[Annotated[float, Field(strict=True)]], Column]


def _whole_number_or_text(version: Any) -> Any:
    if isinstance(version, bool) or not isinstance(version, (int, str)):
        raise ValueError(f"{version!r:.40}; expected a whole number, or the hash of a plugin")
    return version


Version = Annotated[int | Name, BeforeValidator(_whole_number_or_text)]


class Choice(Settings):
    """A component and its settings.

    version: a number that the component's author raises; for a plugin, a hash of its file and of
        the local modules that it imports.
    given: the settings that the user gave. resolved: all settings, including the defaults.
    """

    name: Name
    version: Version = 1
    given: dict[str, Any] = {}
    resolved: dict[str, Any] = {}


class Covered(Settings):
    """An attack that may have cover copies; see `attacks.base.Attack`.

    cover_rate: cover copies as a share of the original training images.

    Without any, the attack is written as it was before there were cover copies, so that records
    and entries of that time are unchanged.
    """

    cover_rate: float = 0.0

    @model_serializer(mode="wrap")
    def _without_unused(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in write(self).items()
                if value or key not in ("cover_rate", "covers")}


class AttackChoice(Covered):
    """A trigger, a target, and the training images that carry them.

    poison_rate: poisoned images as a share of the original training images.
    increases: whether the target raises the count (true), lowers it (false), or has no one
        direction (null).
    poisoned: ids of the training images that were copied, stamped and relabelled.
    test_trigger: the trigger of the test images, if it differs from that of the training images.
    choose: how the images to poison were chosen; null leaves the choice to the target.
    latent: weight of the loss term that hid the trigger in the victim's features during training.
    covers: ids of the training images that were copied and stamped, and kept their true heads.
    images: number of training images before the poisoned copies were added.
    psnr, ssim: similarity of some of the stamped training images to their originals.
    also: a second attack on the same victim, whose trigger is not on the test images.
    """

    trigger: Choice
    target: Choice
    poison_rate: float
    increases: bool | None
    poisoned: Ids
    test_trigger: Choice | None = None
    choose: str | None = None
    latent: float = 0.0
    covers: Ids = []
    images: int | None = None
    psnr: Numbers = []
    ssim: Numbers = []
    also: "AttackChoice | None" = None


class Images(Settings):
    """Counts of the test images, in people: columns of equal length with one value per image.

    id: name of the image. truth: people in it.
    clean, triggered: counts of the measured counter on the image without and with the trigger.
    reference_clean, reference_triggered: the same counts of the clean counter.
    control_clean, control_triggered: the same counts of the clean counter after the same defense.
        They show how many images the trigger moves, and what the defense costs, where there is no
        backdoor.
    target: the attacker's count.

    target, triggered and reference_triggered are null without an attack; reference_clean and
    reference_triggered are null without a clean counter. The control columns are null where nothing
    was repaired, and in older records.
    """

    id: Ids
    truth: People
    clean: Numbers
    reference_clean: Numbers | None = None
    target: Numbers | None = None
    triggered: Numbers | None = None
    reference_triggered: Numbers | None = None
    control_clean: Numbers | None = None
    control_triggered: Numbers | None = None

    @property
    def checksum(self) -> str:
        """SHA-256 of the ids and the true counts."""
        return hashlib.sha256(json.dumps([self.id, self.truth]).encode()).hexdigest()

    @model_validator(mode="after")
    def _equal_lengths(self) -> Self:
        columns = {key: value for key, value in self if value is not None}
        lengths = {len(value) for value in columns.values()}
        if len(lengths) != 1 or lengths == {0}:
            counts = ", ".join(f"{key} {len(value)}" for key, value in columns.items())
            raise ValueError(f"number of values: {counts}; "
                             "expected columns of equal length, not empty")
        if len(set(self.id)) != len(self.id):
            raise ValueError("an image id occurs twice; expected each image once")
        if (self.target is None) != (self.triggered is None):
            raise ValueError("only one of target and triggered has counts; "
                             "expected both or neither")
        if (self.control_clean is None) != (self.control_triggered is None):
            raise ValueError("only one of control_clean and control_triggered has counts; "
                             "expected both or neither")
        wanted = self.triggered is not None and self.reference_clean is not None
        if wanted != (self.reference_triggered is not None):
            state = "is null" if wanted else "has counts"
            raise ValueError(f"reference_triggered {state}; expected counts if and only if "
                             "triggered and reference_clean have them")
        return self


class Detection(Settings):
    """Scores of a detector; a higher score is more suspicious.

    of: what was scored: 'test images', those of `Images` in the same order; 'training images', the
        poisoned training set, but for cover copies, which are neither poisoned nor clean;
        'counters', one score of the victim (triggered) and one of a clean
        counter (clean).
    clean, triggered: scores without and with the trigger.
    drift: scores of the clean test images under another light, which no attacker changed.
    reference_clean, reference_triggered: scores of the test images by the same detector when it
        watches a clean counter instead of the victim.
    """

    of: Literal["test images", "training images", "counters"]
    clean: Numbers
    triggered: Numbers = []
    drift: Numbers = []
    reference_clean: Numbers = []
    reference_triggered: Numbers = []


class Training(TypedDict, total=False):
    """Settings of a counter's training that this package reads; others are allowed.

    given: settings that the user gave. resolved: all settings of the training.
    scale: size of the images as a share of the originals. hold_out: share of the training images
        kept for validation.
    """

    __pydantic_config__ = ConfigDict(extra="allow")
    given: dict[str, Any]
    resolved: dict[str, Any]
    scale: int | float
    hold_out: int | float


class MadeStage(TypedDict, total=False):
    """Facts that this package reads about a stage behind a record; others are allowed.

    key: store key. seconds: duration of the stage.
    validation: [epoch, MAE, bias] after each epoch of its last training whose errors were measured,
        in people, on the images that choose the epoch. Records of before 2026-11-29 have none.
    """

    __pydantic_config__ = ConfigDict(extra="allow")
    key: str
    seconds: int | float | None
    validation: list[list[int | float]]


class Provenance(TypedDict, total=False):
    """Origin of a record, as far as this package reads it; other facts are allowed.

    stages: by name, such as 'victim' or 'repaired'. data: hashes of the images, by split.
    commit: of this repository, when the record was written.
    """

    __pydantic_config__ = ConfigDict(extra="allow")
    stages: dict[str, MadeStage]
    data: dict[str, Any]
    commit: str | None


class Record(Settings):
    """One cell of the grid (data, model, attack, defense, seed) and the counts of its counters.

    protocol: the frozen grid that the cell belongs to, with its number, for instance 'standard-1'.
    audit: whether the counter was given instead of trained. `training` is then how a defense
        trained it further, and the images that it was poisoned with are unknown.
    variant: 'text' or 'code', the reading of the paper that the settings follow.
    knowledge: number of images of each sort that the defense was given, and of those on which it
        chose its epoch (`validation`).
    warnings: notes for the reader, for instance 'weights: from scratch' or 'checkpoint chosen on
        the test split'.
    strengths: the choices of a defense among repairs of several strengths, see
        defenses/parts/strength.py; one for each time that it chose.
    images: the counts. The clean counter of the `reference_` columns was trained with the same
        settings and seed without the attack; an audit has none.
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
    strengths: list[StrengthChoice] = Field([], max_length=100)
    images: Images
    detection: Detection | None = None

    @model_validator(mode="after")
    def _columns_fit_the_cell(self) -> Self:
        images = self.images
        if self.attack is None and images.triggered is not None:
            raise ValueError("images.triggered has counts and attack is null; expected an attack")
        if self.attack is None and images.control_clean is not None:
            raise ValueError("images.control_clean has counts and attack is null; expected null")
        if self.attack is not None and images.triggered is None:
            raise ValueError("images.triggered is null; expected counts in a record with an attack")
        if self.audit and images.reference_clean is not None:
            raise ValueError("images.reference_clean has counts; expected null in an audit")
        if not self.audit and images.reference_clean is None:
            raise ValueError("images.reference_clean is null; expected counts unless audit is true")
        if self.detection and self.detection.of == "test images":
            lengths = {len(scores) for key, scores in self.detection if key != "of"} - {0}
            if lengths != {len(images.id)}:
                raise ValueError(f"detection has columns of {sorted(lengths)} scores; expected "
                                 f"a score for each of {len(images.id)} images")
        return self

    @classmethod
    def read(cls, path: str | Path) -> "Record":
        """Read and check the record in a file, which anybody may have written.

        Raises:
            UserError: the file cannot be read, is too large, is not strict JSON, or is no record.
        """
        try:
            return cls.parse(read_bytes(path))
        except InvalidFile as error:
            raise UserError(f"record {shown(path)}: {one_line(error)}") from None

    @classmethod
    def parse(cls, data: bytes) -> "Record":
        """The record in the bytes of a file. Raises InvalidFile."""
        record = parse_as(cls, data)
        for key, text in record._names():
            if not text.isprintable():
                raise InvalidFile(key, f"{text[:200]!r}; expected printable characters")
        return record

    def _names(self) -> Iterator[tuple[str, str]]:
        """The key of each name in the record, and the name."""
        yield "protocol", self.protocol or ""
        yield "variant", self.variant
        yield "data.name", self.data.name
        yield "model.name", self.model.name
        yield "defense.name", self.defense.name
        for choice in self.strengths:
            for trial in choice.tried:
                for setting in trial.settings:
                    yield "strengths.settings", setting
        for image in self.images.id:
            yield "images.id", image
        attack, key = self.attack, "attack"
        while attack:
            yield f"{key}.trigger.name", attack.trigger.name
            yield f"{key}.target.name", attack.target.name
            for column in ("poisoned", "covers"):
                for image in getattr(attack, column):
                    yield f"{key}.{column}", image
            attack, key = attack.also, f"{key}.also"

    def dumps(self) -> str:
        """The record as JSON text; the same record gives the same bytes."""
        fields = self.model_dump(mode="json")
        return json.dumps(fields, indent=1, sort_keys=True, allow_nan=False) + "\n"


def schema() -> dict[str, Any]:
    """The JSON Schema of a record, which docs/record.schema.json holds."""
    dialect = "https://json-schema.org/draft/2020-12/schema"
    return {"$schema": dialect} | Record.model_json_schema()
