"""Strict YAML: settings are read within limits, and hold text, numbers, lists and mappings only.

The limits are checked before any value is made, so that the work for a file is bounded. An alias
may stand for a large value many times, which costs nothing here; `benchmark.config.axes` counts
what it stands for before anything is expanded.
"""

import re
from collections.abc import Iterator
from typing import Any

import yaml

from benchmark.utils.errors import quoted, shown

MOST_BYTES = 2**20  # in a file
MOST_NODES = 200_000  # values and keys in a file
DEEPEST = 20  # levels of nesting; a grid has 4
LONGEST_TEXT = 4096  # characters of a value, which may be a path

DECIMAL = re.compile("[-+]?(0|[1-9][0-9]*)")
TAG = "tag:yaml.org,2002:"
PLAIN_TAGS = {f"{TAG}{name}" for name in ("str", "int", "float", "bool", "null", "seq", "map")}
# Errors of PyYAML's constructors where a value does not fit its tag, for instance `!!int x`.
UNFIT = (ValueError, LookupError, TypeError, AttributeError, OverflowError)
# libyaml's parser is many times faster, and is part of nearly every installation of PyYAML.
_Safe = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class InvalidYaml(ValueError):
    """The text is not YAML, or not within the limits. The message names the line."""


def parse(text: str | bytes) -> Any:
    """The value of one YAML document.

    Raises:
        InvalidYaml: the text is not YAML, too large, nested too deep, has a key twice, or has a tag
            of another type than a text, a number, a list or a mapping.
    """
    try:
        _check_events(text)
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _check_keys(node)
        return loader.construct_document(node)
    except RecursionError:
        raise InvalidYaml("a mapping merges itself (<<); expected another one") from None
    except (yaml.YAMLError, UnicodeError) as error:
        # PyYAML names the stream where it has no name of a file: 'in "<byte string>", line 1'.
        line = re.sub(r' in "<\w+ string>",', ",", " ".join(str(error).split()))
        raise InvalidYaml(line) from None


def _check_events(text: str | bytes) -> None:
    """Check the limits while the parser reads on; nothing is made of what it reads."""
    depth = 0
    for number, event in enumerate(yaml.parse(text, Loader=_Safe)):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if problem := _problem(event, depth, number):
            raise InvalidYaml(f"line {event.start_mark.line + 1}: {problem}")


def _problem(event: yaml.Event, depth: int, number: int) -> str | None:
    """The limit that an event exceeds, or its tag that is not permitted, as a message; or None."""
    if depth > DEEPEST:
        return f"nested too deep; expected at most {DEEPEST} levels"
    if number > MOST_NODES:
        return f"more than {MOST_NODES:,} values; expected fewer"
    tag = getattr(event, "tag", None)
    if tag is not None and tag != "!" and tag not in PLAIN_TAGS:
        name = tag.replace(TAG, "!!")
        return f"tag {quoted(name)}: expected text, numbers, lists and mappings without tags"
    length = len(event.value) if isinstance(event, yaml.ScalarEvent) else 0
    if length > LONGEST_TEXT:
        return f"a value of {length:,} characters; expected at most {LONGEST_TEXT:,}"
    return None


def _check_keys(root: yaml.Node) -> None:
    """Refuse a mapping that has a key twice, of which YAML would silently take the last."""
    waiting, seen = [root], set()
    while waiting:
        node = waiting.pop()
        if id(node) in seen or isinstance(node, yaml.ScalarNode):
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting += node.value
            continue
        keys = set()
        for key, value in node.value:
            waiting += [key, value]
            if isinstance(key, yaml.ScalarNode):
                if key.value in keys:
                    raise InvalidYaml(f"line {key.start_mark.line + 1}: key {quoted(key.value)} "
                                      "occurs twice; expected each key once")
                keys.add(key.value)


class _Loader(_Safe):
    """The safe loader of PyYAML, with every error of its constructors as a YAMLError.

    Only decimal numbers are numbers. YAML 1.1 has others, 1:30 (which is 90), 010 (8), 0x10 (16)
    and 1_000, which here stay the text that they look like.
    """

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep=deep)
        except UNFIT as error:
            reason = f": {shown(error)}" if isinstance(error, ValueError) else ""
            raise yaml.constructor.ConstructorError(
                None, None, f"{quoted(node.value)} does not fit {node.tag.replace(TAG, '!!')}"
                            f"{reason}", node.start_mark) from None

    def construct_yaml_int(self, node: yaml.ScalarNode) -> Any:
        """A whole number; text where it is not decimal."""
        number = super().construct_yaml_int(node)
        return number if DECIMAL.fullmatch(node.value) else node.value

    def construct_yaml_float(self, node: yaml.ScalarNode) -> Any:
        """A number; text where it is not decimal."""
        number = super().construct_yaml_float(node)
        return node.value if ":" in node.value or "_" in node.value else number

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Put what `<<` merges into a mapping, within a limit.

        Without it, mappings that merge others several times would grow without end.
        """
        merged = 0
        for part in _merged_into(node):
            self.flatten_mapping(part)
            merged += len(part.value)
            if merged > MOST_NODES:
                problem = f"<< merges more than {MOST_NODES:,} values; expected fewer"
                raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        super().flatten_mapping(node)


def _merged_into(node: yaml.MappingNode) -> Iterator[yaml.MappingNode]:
    """The mappings that `<<` merges into a mapping."""
    for key, value in node.value:
        if key.tag == f"{TAG}merge":
            parts = value.value if isinstance(value, yaml.SequenceNode) else [value]
            yield from (part for part in parts if isinstance(part, yaml.MappingNode))


for _kind in ("int", "float"):  # PyYAML registers functions, and not names of methods
    _Loader.add_constructor(f"{TAG}{_kind}", getattr(_Loader, f"construct_yaml_{_kind}"))
