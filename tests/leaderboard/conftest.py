import shutil

import pytest
from factories import GRID, SPLITS, run_of, submitted

from benchmark.config import frozen_grids
from benchmark.config.frozen_grids import FrozenGrid


@pytest.fixture
def grid(tmp_path, monkeypatch):
    """A small grid, frozen under the name 'small-1'."""
    preset = tmp_path / "small.yaml"
    preset.write_text(GRID)
    grid = FrozenGrid("small-1", str(preset), SPLITS)
    monkeypatch.setattr(frozen_grids, "frozen", lambda: [grid])
    return grid


@pytest.fixture
def run(grid, tmp_path):
    return run_of(grid, tmp_path / "run")


@pytest.fixture
def entry(run, tmp_path):
    return submitted(run, tmp_path / "entries")


@pytest.fixture(scope="module")
def chromium():
    """A headless Chromium."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.skip("there is no Chromium here")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()
