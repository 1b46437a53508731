import pytest

from benchmark.testing import attacked


@pytest.fixture(autouse=True)
def victim():
    """Train the small victim before a test replaces the training by something else; later calls share it."""
    attacked()
    attacked("tiny")  # the same victim, but another key of the cache
