"""Checks of a stage that goes into a zoo, or comes from one, before it is taken for a sound one."""

import re
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError

from benchmark.pipeline.counter_files import INFO, WEIGHTS
from benchmark.pipeline.stage_folder import ABOUT, Description, damage, describe
from benchmark.utils.hashing import content_key
from benchmark.utils.strict_json import InvalidFile, parse, parse_as, read_bytes
from benchmark.zoo.index import KEY, Line

Number = Annotated[float, Field(allow_inf_nan=False)]


class _Poisoning(BaseModel):
    """The facts that the stage of a victim notes about its poisoned images."""

    poisoned: list[Line] = []
    covers: list[Line] = []
    images: int | None = None
    psnr: list[Number] = []
    ssim: list[Number] = []


class _Info(_Poisoning):
    """The facts about the training of a counter, as far as records read them."""

    knowledge: dict[Line, int | list[Line] | str | None] = {}
    weights: Line
    weights_sha256: Line
    seconds: Number
    device: Line
    best_epoch: int | None = None
    micro_batch: int | None = None
    scores: list[list[Number]] = []
    strengths: list[dict[Line, Any]] = []
    suspicion: dict[Line, Any] | None = None
    repaired: bool = False
    rounded: Line | None = None
    also: list[_Poisoning] = []


class _Recipe(BaseModel):
    precision: Line | None = None


class Training(BaseModel):
    """Facts about the training of a counter, of which the index of a zoo has some.

    model: its name, its version and its settings.
    """

    model: tuple[Line, int | Line, dict[str, Any]] = ("", 1, {})
    recipe: _Recipe = _Recipe()


def training_of(about: Description) -> Training:
    """The training behind a stage: its own, or that of the counter that it was made from.

    Raises:
        InvalidFile: the facts of the stage are none that a run writes.
    """
    facts = about.facts
    while isinstance(facts, dict) and "model" not in facts:
        behind = [key for key in ("before", "counter") if key in facts]
        if not behind:  # a pattern that was made without a counter
            break
        facts = facts[behind[0]]
    try:
        return Training.model_validate(facts)
    except ValidationError as error:
        first = error.errors()[0]
        raise InvalidFile(".".join(map(str, ["facts", *first["loc"]])), first["msg"]) from None


def problem_of(key: str, files: Collection[str], folder: Path) -> str | None:
    """The first problem of a stage of a zoo, in one line; None if there is none.

    key: under which the zoo has it. files: the names of all its files. folder: with them.
    """
    return damage(folder) or unfit(key, files, folder)


def unfit(key: str, files: Collection[str], folder: Path) -> str | None:
    """The first problem of an undamaged stage, in one line; None if there is none."""
    about = describe(folder)
    for path in sorted(folder.glob("*.json")):
        try:
            parse(read_bytes(path))
            if path.name == INFO:
                _check_info(path, about.files.get(WEIGHTS))
        except InvalidFile as error:
            return f"{path.name}: {error}"
    found = content_key(about.facts)
    if found != key:
        return f"{ABOUT}: it describes the stage {found}"
    if {*about.files, ABOUT} != {*files}:
        return f"{ABOUT}: it describes the files {', '.join(sorted(about.files))}"
    if not all(re.fullmatch(KEY, need) for need in about.needs):
        return f"{ABOUT}: needs: expected keys of stages"
    try:
        training_of(about)
    except InvalidFile as error:
        return f"{ABOUT}: {error}"
    return None


def _check_info(path: Path, weights: tuple[int, str] | None) -> None:
    info = parse_as(_Info, read_bytes(path))
    if weights is None or info.weights_sha256 != weights[1]:
        raise InvalidFile("weights_sha256", f"not the hash of {WEIGHTS}")
