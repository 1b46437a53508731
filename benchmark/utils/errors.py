"""User errors: a wrong request is reported in one clear line, never as a traceback."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A wrong request.

    The message is all that the user sees: it names the file, key or value and what was expected.
    """


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """A sentence that lists the choices, the nearest one first.

    >>> did_you_mean("blened", ["blended", "patch"])
    "did you mean 'blended'? (known: blended, patch)"
    """
    choices = sorted(choices)
    near = difflib.get_close_matches(str(word).lower(), choices, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{hint}(known: {', '.join(choices) or 'none'})"


def unknown_key(where: str, key: object, known: Iterable[str]) -> UserError:
    """The error for a key that is not among the known ones. where: the mapping with the key."""
    return UserError(f"{where}: unknown key {key!r}: {did_you_mean(str(key), known)}")
