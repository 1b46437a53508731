"""User errors: a wrong request is reported in one clear line, never as a traceback.

A message shows at most LONGEST characters of a value or a name. `quoted` shows a value of any type;
`UserError` cuts every longer word of its message, so that this holds for all messages.
"""

import difflib
import re
import reprlib
from collections.abc import Iterable

LONGEST = 200  # characters of a value or a name in a message
MOST_BITS = 600  # of a number whose digits are shown


class UserError(Exception):
    """A wrong request.

    The message is all that the user sees: it names the file, key or value and what was expected.
    """

    def __init__(self, message: str):
        super().__init__(with_short_words(message))


def cut(text: str) -> str:
    """A text of at most LONGEST characters: the middle of a longer one is left out."""
    if len(text) <= LONGEST:
        return text
    half = (LONGEST - len("...")) // 2
    return f"{text[:half]}...{text[-half:]}"


def with_short_words(text: str) -> str:
    """A text in which no word has more than LONGEST characters.

    >>> with_short_words("'" + 1000 * "x" + "': expected a number").count("x")
    194
    """
    return re.sub(rf"\S{{{LONGEST + 1},}}", lambda match: cut(match[0]), text)


def shown(value: object) -> str:
    """A value as one line of printable text, cut to LONGEST characters.

    >>> shown("a\\nb\\x1b[0m")
    'a\\\\nb\\\\x1b[0m'
    """
    return cut(printable(cut(str(value))))


def printable(text: str) -> str:
    """A text in which what cannot be printed, such as a line break, is spelled out."""
    return "".join(character if character.isprintable()
                   else character.encode("unicode_escape").decode() for character in text)


def quoted(value: object) -> str:
    """A value as Python writes it, cut to LONGEST characters.

    It takes little time for any value: a list that holds itself, lists of lists without end, or a
    number of a million digits.
    """
    return cut(_SHORT.repr(value))


class _Short(reprlib.Repr):
    """Python's notation, of which only the beginning is made of a long value."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 4
        self.maxlist = self.maxdict = self.maxtuple = self.maxset = 10
        self.maxstring = self.maxlong = self.maxother = LONGEST

    def repr_int(self, x: int, level: int) -> str:
        """A number; Python refuses to write one of thousands of digits."""
        if x.bit_length() > MOST_BITS:
            return f"a number of {x.bit_length()} bits"
        return super().repr_int(x, level)


_SHORT = _Short()


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """A sentence that lists the choices, the nearest one first.

    >>> did_you_mean("blened", ["blended", "patch"])
    "did you mean 'blended'? (known: blended, patch)"
    """
    choices = sorted(choices)
    near = difflib.get_close_matches(cut(str(word)).lower(), choices, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{hint}(known: {', '.join(choices) or 'none'})"


def unknown_key(where: str, key: object, known: Iterable[str]) -> UserError:
    """The error for a key that is not among the known ones. where: the mapping with the key."""
    word = key if isinstance(key, str) else quoted(key)
    return UserError(f"{where}: unknown key {quoted(key)}: {did_you_mean(word, known)}")
