"""The version of the package, and the day of its release.

CITATION.cff and CHANGELOG.md name both, too; `tests/publication/test_citation.py` compares them.
"""

__version__ = "1.0.0"
RELEASED = "2026-11-29"
