"""The record of one cell: what was run, on what, and the counts per image. JSON, nothing else.

Every published number is recomputed from `images`; a record stores no metric.
"""

import json
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from benchmark.errors import UserError
from benchmark.registry import Settings

SCHEMA = 1


class Choice(Settings):
    """A registered entry and its settings, those that the user gave and all of them.

    version: a number that its author raises; of a plugin, a hash of its file.
    """

    name: str
    version: int | str = 1
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
    poisoned: list[str]  # ids of the training images that were copied, stamped and relabelled
    test_trigger: Choice | None = None
    choose: str | None = None  # which were poisoned; None is the target's own choice
    latent: float = 0.0  # weight of what hid the trigger in the features while the victim was trained
    images: int | None = None
    psnr: list[float] = []
    ssim: list[float] = []
    also: "AttackChoice | None" = None


class Images(Settings):
    """Columns of equal length, one row per test image; counts in people.

    target and *triggered are None where there is no attack, reference_* where there is no clean counter.
    """

    id: list[str]
    truth: list[int]
    clean: list[float]
    reference_clean: list[float] | None = None
    target: list[float] | None = None
    triggered: list[float] | None = None
    reference_triggered: list[float] | None = None

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
    clean: list[float]
    triggered: list[float] = []
    drift: list[float] = []
    reference_clean: list[float] = []
    reference_triggered: list[float] = []


class Record(Settings):
    """One cell of the grid: (data, model, attack, defense, seed) and what was counted.

    protocol: the frozen grid that it belongs to, with its number, for instance 'standard-1'.
    audit: the counter was given; `training` is how a defense trained it further, and nobody knows what was poisoned.
    variant: 'text' or 'code', the reading of the paper that the settings follow.
    reference_*: counts of the clean model, trained with the same settings and seed without the attack; an audit has
        none.
    warnings: what a reader must know, for instance 'weights: from scratch' or 'checkpoint chosen on the test split'.
    """

    schema_version: int = Field(SCHEMA, ge=1, le=SCHEMA)
    protocol: str | None = None
    audit: bool = False
    variant: str
    seed: int
    data: Choice
    model: Choice
    attack: AttackChoice | None
    defense: Choice
    training: dict[str, Any]
    knowledge: dict[str, Any] = {}  # images that the defense was handed, and on how many it chose its epoch
    provenance: dict[str, Any] = {}
    warnings: list[str] = []
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
        """Read and check a record.

        Raises:
            UserError: the file is not JSON or not a record.
        """
        try:
            return cls.model_validate(json.loads(Path(path).read_text()))
        except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
            raise UserError(f"record {path}: {error}") from None
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"])
            raise UserError(f"record {path}: {key or 'record'}: {first['msg']}") from None

    def dumps(self) -> str:
        """The record as JSON text, the same bytes for the same record."""
        return json.dumps(self.model_dump(mode="json"), indent=1, sort_keys=True, allow_nan=False) + "\n"
