import pytest

from benchmark.testing import attacked


@pytest.fixture(autouse=True)
def victim():
    """The small victim, trained before a test replaces the training by something else; later calls share it."""
    return attacked()
