"""Durations, sizes and numbers of things in a form that is easy to read."""

import re
from datetime import datetime

from benchmark.utils.errors import shown


def duration(seconds: float) -> str:
    """A duration in seconds, minutes, hours or days, whichever suits its length.

    >>> duration(42), duration(200), duration(5000), duration(200_000)
    ('42 s', '3 min', '1 h 23 min', '2 days 7 h')
    """
    minutes = round(seconds / 60)
    if seconds < 100:
        return f"{seconds:.0f} s"
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes // 1440} days {minutes % 1440 // 60} h"


def number(count: int, thing: str, things: str | None = None) -> str:
    """A number of things, with their name in the singular or the plural.

    >>> number(1, "cell"), number(2, "cell"), number(0, "entry", "entries")
    ('1 cell', '2 cells', '0 entries')
    """
    return f"{count} {thing if count == 1 else things or thing + 's'}"


def size(amount: float) -> str:
    """An amount of bytes with a decimal unit (1 kB is 1000 bytes).

    >>> size(700), size(65_000_000), size(2.5e12)
    ('700 bytes', '65.0 MB', '2.5 TB')
    """
    if amount < 1000:
        return f"{amount:.0f} bytes"
    for unit in ("kB", "MB", "GB", "TB"):
        amount /= 1000
        if amount < 1000 or unit == "TB":
            break
    return f"{amount:.1f} {unit}"


def parse_size(text: str) -> int:
    """The number of bytes in a text such as '500MB' or '2 GB'.

    >>> parse_size("500MB"), parse_size("2.5 gb"), parse_size("700")
    (500000000, 2500000000, 700)

    Raises:
        ValueError: it is no size; the message says what was expected.
    """
    found = re.fullmatch(r"\s*(\d{1,9}(?:\.\d{1,3})?)\s*([kMGT]?)B?\s*", text, re.IGNORECASE)
    if found is None:
        raise ValueError(f"{shown(text)!r}: expected a size, for instance 500MB or 2GB")
    number, unit = found.groups()
    return round(float(number) * 1000 ** " KMGT".index(unit.upper() or " "))


def moment(seconds: float) -> str:
    """A point in time, given in seconds since 1970, as local date and time.

    Files may have times that no calendar holds, for instance after a failure of the clock.

    >>> moment(1e20)
    '9999-12-31 23:59:59'
    >>> moment(-1e20)
    '0001-01-01 00:00:00'
    """
    try:
        return datetime.fromtimestamp(seconds).isoformat(" ", "seconds")
    except (ValueError, OverflowError, OSError):
        last = datetime.max if seconds > 0 else datetime.min
        return last.isoformat(" ", "seconds")
