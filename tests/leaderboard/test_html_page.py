"""The page shows what the tables hold, takes what records hold as text, and works without a mouse."""

import json
import re
import shutil
from html.parser import HTMLParser

import pandas as pd
import pytest
from factories import make_record

from benchmark.leaderboard.html_page import page, write_page
from benchmark.leaderboard.report import board
from benchmark.results.scenarios import scenarios
from benchmark.tables.formats import Table

NASTY = "</script><script>document.title='owned'</script><img src=x onerror=alert(1)>"


def records():
    return [make_record("add"), make_record("add", seed=1), make_record("minus"), make_record("add", defense="fine_tune"),
            make_record("add", seed=1, defense="fine_tune"), make_record("minus", defense="fine_tune")]


def data(html):
    return json.loads(re.search(r'id="data">(.*?)</script>', html, re.DOTALL)[1])["rows"]


def test_the_page_holds_the_numbers_of_the_table_of_controls():
    given = records()
    rows = {(row["attack"], row["defense"]): row for row in data(page(scenarios(given), {}))}
    for line in board(given).controls.to_dict("records"):
        if line["images"] == line["images"]:  # what was not run has no row
            row = rows[line["attack"], line["defense"]]
            for key in ("rho_acc", "mae", "rho_asr", "flip_rate", "flip_rate_low", "attainment", "der"):
                assert row[key] == (None if line[key] != line[key] else pytest.approx(line[key], abs=1e-6)), key
    assert [record["seed"] for record in rows["blended/add", "fine_tune"]["records"]] == [0, 1]


def test_a_histogram_counts_every_image_with_people_once():
    for row in data(page(scenarios(records()), {})):
        for record in row["records"]:
            assert sum(record["clean"]) == record["images"]
            assert record["triggered"] is None or sum(record["triggered"]) == record["images"]


def test_what_a_record_holds_can_end_no_element_and_begin_none():
    one = make_record("add")
    one = one.model_copy(update={"warnings": [NASTY], "model": one.model.model_copy(update={"name": NASTY})})
    html = page(scenarios([one]), {})
    assert NASTY not in html and NASTY in json.dumps(data(html))

    class Tags(HTMLParser):
        found = []

        def handle_starttag(self, tag, attributes):
            self.found.append(tag)

    Tags().feed(html)
    assert Tags.found.count("script") == 2 and "img" not in Tags.found


def test_nothing_is_fetched_and_links_lead_to_the_records(tmp_path):
    one = make_record("add")
    write_page(scenarios([one]), {id(one): tmp_path / "records" / "a b.json"}, tmp_path / "out" / "page.html")
    html = (tmp_path / "out" / "page.html").read_text()
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", html) and "default-src 'none'" in html
    [row] = [row for row in data(html) if row["target"] == "add"]
    assert row["records"][0]["link"] == "../records/a%20b.json"


def test_the_same_records_give_the_same_bytes():
    assert page(scenarios(records()), {}) == page(scenarios(records()[::-1]), {})


# In a browser.

@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """A page with a nasty record in headless Chromium, and what its console said."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("there is no Chromium here")
    one = make_record("divide")
    nasty = one.model_copy(update={"defense": one.defense.model_copy(update={"name": NASTY})})
    path = tmp_path_factory.mktemp("page") / "page.html"
    entry = {"path": "mine/abc", "name": NASTY, "paper": "https://example.org/paper", "code": "javascript:alert(1)",
             "tier": "recomputed from counts"}
    entered = make_record("minus", defense="entered").model_copy(update={"provenance": {"entry": entry}})
    ranking = Table("leaderboard-small-1", f"Leaderboard of {NASTY}", pd.DataFrame(
        [{"rank": "1", "defense": NASTY, "RA": "0.500 [0.400, 0.600]"},
         {"rank": "control", "defense": "none", "RA": "/"}]),
        ["RA: of the images with the trigger."])
    write_page(scenarios([*records(), nasty, entered]), {}, path, [ranking])
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        shown, said = browser.new_page(viewport={"width": 400, "height": 700}), []
        shown.on("console", lambda message: said.append(message.text))
        shown.on("pageerror", lambda error: said.append(str(error)))
        shown.goto(path.as_uri())
        yield shown, said
        browser.close()


def column(shown, name):
    place = [cell.inner_text().split(" ")[0] for cell in shown.locator("#head th").all()].index(name)
    return [row.locator("td").nth(place).inner_text() for row in shown.locator("#body tr").all()]


def test_rows_are_sorted_filtered_and_opened_by_keyboard(opened):
    shown, said = opened
    assert shown.title() == "CrowdBackdoorBench: leaderboard" and NASTY in column(shown, "defense")
    every = len(column(shown, "MAE"))
    shown.get_by_role("button", name="MAE").focus()
    shown.keyboard.press("Enter")
    up = [float(text) for text in column(shown, "MAE")]
    assert up == sorted(up) and shown.locator("[aria-sort=ascending]").inner_text().startswith("MAE")
    shown.keyboard.press("Enter")
    assert [float(text) for text in column(shown, "MAE")] == up[::-1]
    shown.get_by_label("target").focus()
    shown.keyboard.type("minus")
    assert set(column(shown, "attack")) == {"blended/minus"}
    assert shown.locator("#count").inner_text() == f"{len(column(shown, 'MAE'))} of {every} rows"
    button = shown.locator("#body button").first
    button.focus()
    shown.keyboard.press("Enter")
    assert button.get_attribute("aria-expanded") == "true" and shown.locator("tr.open svg").count() >= 1
    shown.keyboard.press("Enter")
    assert shown.locator("tr.open").count() == 0
    assert said == []


def test_the_leaderboard_of_a_frozen_grid_stands_first(opened):
    shown, _ = opened
    first = shown.locator("table").first
    assert [cell.inner_text() for cell in first.locator("thead th").all()] == ["rank", "defense", "RA"]
    assert [[cell.inner_text() for cell in row.locator("th, td").all()] for row in first.locator("tbody tr").all()] == [
        ["1", NASTY, "0.500 [0.400, 0.600]"], ["control", "none", "/"]]


def test_the_page_is_no_wider_than_a_phone(opened):
    shown, _ = opened
    assert shown.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_an_entry_says_whose_it_is_and_links_only_to_the_web(opened):
    shown, said = opened
    shown.goto(shown.url.partition("#")[0])
    shown.reload()
    button = shown.get_by_role("button", name="entered").first
    button.click()
    told = shown.locator("tr.open dl").first
    assert "recomputed from counts" in told.inner_text() and "javascript:alert(1)" in told.inner_text()
    assert [link.get_attribute("href") for link in told.locator("a").all()] == ["https://example.org/paper"]
    assert not said
