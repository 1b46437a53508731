"""Manifests: the layout of a leaderboard entry on disk, and what its entry.json says.

An entry is a folder PROTOCOL/DEFENSE/REVISION, or PROTOCOL/TRIGGER-TARGET/REVISION, with entry.json
and cells/*.json. The cells are records, byte for byte as a run wrote them. An entry of a defense
holds those of the defense, of no defense, and of the controls; an entry of an attack holds those of
its victims after each defense of the grid. The revision is a hash of the cells, so the path
determines what the folder must hold. The folder may also have reruns/*.json, the records of cells
that somebody else ran again, and verification/COMMIT/*.json, those of cells that a maintainer ran
with fresh seeds.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from benchmark.registry import Settings
from benchmark.results.record import AttackChoice, Choice, Covered

FILE, CELLS, RERUNS, VERIFICATION = "entry.json", "cells", "reruns", "verification"
UNDEFENDED = Choice(name="none")
MOST_CELLS = 1000
MOST_MANIFEST = 2**20  # bytes of entry.json
MOST_TOTAL = 64 * 2**20  # bytes of all records in cells, or in reruns
_OWN_FILE = re.compile(r"(?:attacks|defenses|docs|models)(?:/[A-Za-z0-9_-]+)+\.(?:md|py)")


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("expected printable characters on one line")
    return text


def _with_letters(text: str) -> str:
    if not any(character.isalpha() for character in text):
        raise ValueError("expected a name with letters")
    return text


def _web_address(text: str) -> str:
    try:
        parts = urlsplit(text)
        host, user, _ = parts.hostname, parts.username, parts.port
    except ValueError:  # a host or a port that is none
        host = None
    is_plain = re.fullmatch(r"https?://[!-~]+", text) and not set(text) & set('<>"`\\')
    if not is_plain or not host or user is not None:
        raise ValueError("expected the address of a web page, http://... or https://..., in ASCII "
                         "and without spaces or a user's name")
    return text


def _place(text: str) -> str:
    if _OWN_FILE.fullmatch(text):
        return text
    try:
        return _web_address(text)
    except ValueError as error:
        raise ValueError(f"{error}, or a file of this project, such as "
                         "defenses/patchwork.py") from None


PathPart = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,149}$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Text = Annotated[str, Field(min_length=1, max_length=300), AfterValidator(_printable)]
Name = Annotated[Text, AfterValidator(_with_letters)]
Url = Annotated[str, Field(max_length=300), AfterValidator(_web_address)]
Place = Annotated[str, Field(max_length=300), AfterValidator(_place)]


class EnteredAttack(Covered):
    """An attack as an entry identifies it: `AttackChoice` without what was measured.

    None of its components has settings in `given`, since those in `resolved` are all of them.
    """

    trigger: Choice
    target: Choice
    poison_rate: float
    increases: bool | None
    test_trigger: Choice | None = None
    choose: str | None = None
    latent: float = 0.0
    also: "EnteredAttack | None" = None

    @property
    def title(self) -> str:
        """Trigger and target, 'blended/multiply'."""
        return f"{self.trigger.name}/{self.target.name}"

    @property
    def folder(self) -> str:
        """The name of the folder of its entries."""
        return f"{self.trigger.name}-{self.target.name}"

    @property
    def poisoned_share(self) -> float:
        """The stamped images of all attacks on the victim, as a share of the training images.

        Cover copies count: the attacker adds them, too.
        """
        own = self.poison_rate + self.cover_rate
        return own + (self.also.poisoned_share if self.also else 0)

    @property
    def identity(self) -> str:
        """All settings as JSON, in which 1, 1.0 and true differ."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True)


class Manifest(Settings):
    """The contents of entry.json.

    name, paper, code: the words of the submitter. All other fields follow from the cells. Paper and
        code are addresses, or files of this project where the entry is of one of its own
        components. They may be corrected after publication.
    protocol: the frozen grid.
    defense, attack: the one of the two that the entry is about, with its version and settings. The
        other is None, and the file does not name it.
    cells: the SHA-256 of each record, by the name of its file.
    crowdbench: the version of this package that wrote the manifest.
    """

    schema_version: Literal[1] = 1
    name: Name
    paper: Place
    code: Place
    protocol: PathPart
    defense: Choice | None = None
    attack: EnteredAttack | None = None
    tier: Literal["self-reported"] = "self-reported"
    cells: dict[PathPart, Sha256]
    crowdbench: Text

    @model_validator(mode="after")
    def _is_about_one(self) -> Self:
        if (self.defense is None) == (self.attack is None):
            raise ValueError("expected either a defense or an attack")
        return self

    @property
    def subject(self) -> str:
        """The name of the defense, or the title of the attack."""
        return self.defense.name if self.defense else self.attack.title

    @property
    def folder(self) -> str:
        """The name of the folder with the revisions of this entry."""
        return self.defense.name if self.defense else self.attack.folder

    def dumps(self) -> str:
        """The manifest as JSON text; the same manifest gives the same bytes."""
        fields = self.model_dump(mode="json", exclude={"attack" if self.defense else "defense"})
        return json.dumps(fields, indent=1, sort_keys=True, allow_nan=False) + "\n"


def revision(cells: Mapping[str, str]) -> str:
    """The revision of an entry: the first 12 hex digits of a hash of its cells.

    cells: the SHA-256 of each record, by the name of its file.

    In the folder of the cells, `LC_ALL=C; sha256sum *.json | sha256sum | cut -c-12` prints the
    same digits.
    """
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(cells.items()))
    return hashlib.sha256(lines.encode()).hexdigest()[:12]


def without_given(component: Choice) -> Choice:
    """A component as an entry identifies it: by all its settings, whichever of them were given."""
    return component.model_copy(update={"given": {}})


def identity(defense: Choice) -> str:
    """The name, the version and all settings of a defense as JSON, in which 1, 1.0 and true differ.

    The same defense gives the same text, whichever settings were given and in whichever order.
    """
    return json.dumps(without_given(defense).model_dump(mode="json"), sort_keys=True)


def attack_of(attack: AttackChoice) -> EnteredAttack:
    """An attack of a record as an entry identifies it."""
    return EnteredAttack(
        trigger=without_given(attack.trigger), target=without_given(attack.target),
        poison_rate=attack.poison_rate, increases=attack.increases, choose=attack.choose,
        latent=attack.latent, cover_rate=attack.cover_rate,
        also=attack_of(attack.also) if attack.also else None,
        test_trigger=without_given(attack.test_trigger) if attack.test_trigger else None)
