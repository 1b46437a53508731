"""The version and the citation are the same everywhere."""

import re

import pytest
import yaml
from factories import ROOT

from benchmark.publication.citation import AUTHORS, LICENCE, TITLE, bibtex
from benchmark.version import RELEASED, __version__


@pytest.fixture
def citation():
    return yaml.safe_load((ROOT / "CITATION.cff").read_text())


def test_the_citation_file_names_this_version_title_and_nobody_else(citation):
    assert citation["version"] == __version__ and str(citation["date-released"]) == RELEASED
    assert citation["title"] == TITLE and citation["license"] == LICENCE
    assert citation["authors"] == [{"name": AUTHORS}]
    assert citation["cff-version"] == "1.2.0" and citation["type"] == "software" and citation["message"]


def test_the_changelog_begins_with_this_version():
    first = re.search(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert first[1] == f"{__version__} - {RELEASED}"


def test_the_readme_shows_the_bibtex():
    assert f"```bibtex\n{bibtex()}\n```" in (ROOT / "README.md").read_text()


def test_the_bibtex_has_the_fields_of_the_citation_file(citation):
    fields = dict(re.findall(r"^(\w+) = \{(.+?)\},?$", bibtex(), re.MULTILINE))
    year, month, _ = str(citation["date-released"]).split("-")
    assert fields == {"author": f"{{{AUTHORS}}}", "title": citation["title"], "version": citation["version"],
                      "year": year, "month": str(int(month))}
