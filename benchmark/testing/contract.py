"""A broken rule of a contract, and the function that raises it."""


class BrokenContract(AssertionError):
    """A component does not keep its contract. The message is one line."""


def require(kept: bool, message: str) -> None:
    """Raise BrokenContract unless a rule is kept, also where Python leaves out assertions (-O)."""
    if not kept:
        raise BrokenContract(message)
