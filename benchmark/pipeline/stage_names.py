"""Stage names: the settings that tell apart stored stages of one title.

A title holds the settings that a run gave to the attack and the defense. Stages of one title can
still differ in anything else, such as the epochs of the training. A stage says in its `facts` what
determines its result, without the settings that have their defaults.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmark.config.cell import differing_keys
from benchmark.pipeline.store_admin import StoredStage
from benchmark.utils.errors import shown

Settings = dict[str, Any]
BEHIND = ("before", "counter", "handed")  # facts that are another stage: its key or its own facts
ATTACK = ("trigger", "target", "poison_rate")  # what a list of the facts of an attack begins with
NAMES = {"recipe": "training"}  # keys of facts that have another name in a request


def differences(stages: Sequence[StoredStage]) -> list[Settings]:
    """For each stage the settings in which stages of its kind and title differ.

    A setting that a stage lacks has its default there, and the value None here. A stage that was
    not finished says nothing of its settings, and is not compared.
    """
    facts = {stage.key: stage.facts for stage in stages}
    settings = [_settings(stage.facts, facts) for stage in stages]
    namesakes: dict[tuple[str, str], list[Settings]] = defaultdict(list)
    for stage, own in zip(stages, settings):
        if own:
            namesakes[stage.kind, stage.title].append(own)
    keys = {name: sorted(differing_keys(others)) for name, others in namesakes.items()}
    return [{key: own.get(key) for key in keys[stage.kind, stage.title]} if own else {}
            for stage, own in zip(stages, settings)]


def name(title: str, differing: Mapping[str, Any]) -> str:
    """A title with the settings that tell it from others.

    >>> name("train tiny clean seed 0", {"training.epochs": 60, "model.width": None})
    'train tiny clean seed 0 (training.epochs 60, model.width default)'
    """
    settings = [f"{shown(key)} {'default' if value is None else shown(value)}"
                for key, value in differing.items()]
    return f"{title} ({', '.join(settings)})" if settings else title


def _settings(facts: Any, of_others: Mapping[str, Any],
              seen: frozenset[str] = frozenset()) -> Settings:
    """The settings in the facts of a stage, by dotted key, and in those of the stages behind it.

    of_others: the facts of all stages, by their keys. seen: the keys of those on the way here.
    """
    own: Settings = {}
    behind: list[tuple[str, Settings]] = []
    for key, value in (facts.items() if isinstance(facts, dict) else ()):
        stage = value if key in BEHIND and isinstance(value, str) and value not in seen else None
        inner = of_others.get(stage, value) if stage else value
        if key in BEHIND and isinstance(inner, dict):
            behind.append((key, _settings(inner, of_others, seen | {stage} if stage else seen)))
        else:
            own |= _flat(NAMES.get(key, key), value)
    for key, settings in behind:
        own |= {f"{key}.{name}" if name in own else name: value
                for name, value in settings.items()}
    return own


def _flat(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The settings in one fact, by dotted key. A component is [name, version, settings]."""
    if isinstance(value, dict):
        for inner, item in value.items():
            yield from _flat(f"{key}.{inner}", item)
    elif isinstance(value, list) and len(value) == 3 and isinstance(value[2], dict):
        yield key, value[0]
        yield f"{key}.version", value[1]
        yield from _flat(key, value[2])
    elif isinstance(value, list):
        for place, item in enumerate(value):
            inner = ATTACK[place] if key == "attack" and place < len(ATTACK) else str(place)
            yield from _flat(f"{key}.{inner}", item)
    else:
        yield key, value
