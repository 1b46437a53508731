"""Checks of a stage from a zoo, before the store takes it for one that was made here."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field

from benchmark.pipeline.counter_files import INFO, WEIGHTS
from benchmark.pipeline.stage_folder import ABOUT, damage, describe
from benchmark.utils.hashing import content_key
from benchmark.utils.strict_json import InvalidFile, parse, parse_as, read_bytes
from benchmark.zoo.index import Line, SharedStage

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


def problem_of(key: str, stage: SharedStage, folder: Path) -> str | None:
    """The first problem of the files of a stage, in one line; None if there is none.

    key: under which the zoo has it. folder: with all its files.
    """
    problem, about = damage(folder), describe(folder)
    if problem:
        return problem
    found = content_key(about.facts)
    if found != key:
        return f"{ABOUT}: it describes the stage {found}"
    if {*about.files, ABOUT} != {*stage.files}:
        return f"{ABOUT}: it describes the files {', '.join(sorted(about.files))}"
    for path in sorted(folder.glob("*.json")):
        try:
            parse(read_bytes(path))
            if path.name == INFO:
                _check_info(path, about.files.get(WEIGHTS))
        except InvalidFile as error:
            return f"{path.name}: {error}"
    return None


def _check_info(path: Path, weights: tuple[int, str] | None) -> None:
    info = parse_as(_Info, read_bytes(path))
    if weights is None or info.weights_sha256 != weights[1]:
        raise InvalidFile("weights_sha256", f"not the hash of {WEIGHTS}")
