"""What a reader does with the page: in Chromium, on a laptop and a phone, with a mouse, a keyboard, a screen reader."""

from importlib.resources import files

import pandas as pd
import pytest
from factories import make_record
from test_html_page import NASTY, records, strengths

from benchmark.leaderboard.html_page import write_page
from benchmark.results.scenarios import scenarios
from benchmark.tables.formats import Table

pytestmark = pytest.mark.slow

LAPTOP, PHONE = (1280, 800), (390, 844)
TITLE = "CrowdBackdoorBench: leaderboard"
DEFENSES = pd.DataFrame([
    {"rank": rank, "defense": name, "knows": "40+24", "RA": right, "rho_Acc": "0.600 [0.500, 0.700]",
     "flip rate": flips, "rho_Asr": "0.2", "RA - none": "+0.4", "p none, seeds": "<.001", "p none, images": "0.031",
     "cells": cells,
     **{f"more {i}": "0.123 [0.100, 0.200]" for i in range(12)}}
    for rank, name, right, flips, cells in [
        ("1", "fst (lr not set)", "0.600 [0.500, 0.700]", "0.120 [0.100, 0.200]", "9/9"),
        ("control", "none", "0.100 [0.000, 0.200]", "0.700 [0.600, 0.800]", "9/9"),
        ("2", NASTY, "-0.050 [-0.100, 0.010]", "/", "9/9"),
        ("10", "fine_tune", "0.500", "0.030 [0.000, 0.100]", "9/9"),
        ("incomplete", "other_repair", "/", "/", "2/9")]])
ATTACKS = pd.DataFrame([
    {"rank": "1", "attack": "blended/add", "damage left": "0.1", "flip rate": "0.2", "rho_Acc": "0.5"},
    {"rank": "2", "attack": "blended/minus", "damage left": "0.0", "flip rate": "0.1", "rho_Acc": "0.6"}])
BOARDS = [Table("leaderboard-small-1", f"Leaderboard of {NASTY}", DEFENSES, ["A note."]),
          Table("leaderboard-large-1", "Leaderboard of large-1", DEFENSES.head(2), []),
          Table("attacks-small-2", "Attacks of small-2", ATTACKS, [])]


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The address of a page with both sides, two grids, strengths, an entry and nasty records."""
    one = make_record("divide")
    nasty = one.model_copy(update={"defense": one.defense.model_copy(update={"name": NASTY})})
    entry = {"path": "mine/abc", "name": NASTY, "paper": "https://example.org/paper", "code": "javascript:alert(1)",
             "tier": "recomputed from counts"}
    entered = make_record("minus", defense="entered").model_copy(update={"provenance": {"entry": entry}})
    path = tmp_path_factory.mktemp("page") / "page.html"
    write_page(scenarios([*records(), *strengths(), nasty, entered]), {}, path, BOARDS)
    return path.as_uri()


@pytest.fixture
def shown(chromium, address):
    """Opens the page at a place, a size and in some colours; what the console says fails the test."""
    contexts, said = [], []

    def show(place="", size=LAPTOP, colours="light"):
        contexts.append(chromium.new_context(viewport=dict(zip(("width", "height"), size)), color_scheme=colours))
        page = contexts[-1].new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(f"{address}{place}")
        return page

    yield show
    for context in contexts:
        context.close()
    assert not said


def headings(page):
    return [cell.get_attribute("data-title") for cell in page.locator("thead th:visible").all()]


def column(page, title):
    place = [cell.get_attribute("data-title") for cell in page.locator("thead:visible th").all()].index(title)
    return [row.locator("th, td").nth(place).text_content() for row in page.locator("tbody:visible tr").all()]


def press(page, title):
    page.locator("thead:visible").get_by_role("button", name=title, exact=True).focus()
    page.keyboard.press("Enter")


def status(page):
    return page.get_by_role("status").locator("visible=true").inner_text()


def tabs(page):
    return [tab.inner_text() for tab in page.get_by_role("tab").all() if tab.is_visible()]


def selected(page):
    return [tab.inner_text() for tab in page.locator("[role=tab][aria-selected=true]:visible").all()]


def unfold(page, title):
    menu = page.locator("details:visible", has=page.locator("summary", has_text=title)).first
    if menu.get_attribute("open") is None:
        menu.locator("summary").click()


# What fits.

@pytest.mark.parametrize("size", [LAPTOP, PHONE])
@pytest.mark.parametrize("place", ["", "#tab=attacks", "#tab=frontiers", "#tab=cells"])
def test_no_page_is_wider_than_the_screen_and_no_ranking_at_first(shown, size, place):
    page = shown(place, size)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    table = page.locator(".scroll:visible")
    assert table.evaluate("element => element.scrollWidth <= element.clientWidth")


def test_a_phone_shows_the_name_the_rank_and_three_numbers_on_its_first_screen(shown):
    page = shown(size=PHONE)
    assert headings(page) == ["defense", "RA", "rho_Acc", "flip rate"]
    first = page.locator("tbody:visible tr").first
    assert first.locator("th").evaluate("cell => getComputedStyle(cell, '::before').content") == '"1"'
    for cell in first.locator("th, td:visible").all():
        box = cell.bounding_box()
        assert box["x"] + box["width"] <= 390 and box["y"] + box["height"] <= 844


@pytest.mark.parametrize("size, sticking", [
    (LAPTOP, ["rank", "defense", "RA", "rho_Acc", "flip rate"]), (PHONE, ["defense"])])
def test_names_and_numbers_stay_while_other_columns_are_scrolled(shown, size, sticking):
    page = shown(size=size)
    unfold(page, "Columns")
    page.get_by_role("button", name="Show all").locator("visible=true").click()
    assert sorted(headings(page) + ["rank"] * (size == PHONE)) == sorted(DEFENSES.columns)

    def places(scrolled):
        page.locator(".scroll:visible").evaluate("(element, left) => { element.scrollLeft = left }", scrolled)
        cells = page.locator("thead th:visible").all()
        return {cell.get_attribute("data-title"): cell.bounding_box()["x"] for cell in cells}

    near, far = places(0), places(500)
    assert [title for title in near if near[title] == far[title]] == sticking
    assert near["more 1"] - far["more 1"] == 500


def test_columns_are_chosen(shown):
    page = shown()
    assert "knows" in headings(page) and "rho_Asr" not in headings(page)
    unfold(page, "Columns")
    page.get_by_role("checkbox", name="rho_Asr").locator("visible=true").check()
    page.get_by_role("checkbox", name="knows").locator("visible=true").uncheck()
    assert "knows" not in headings(page) and column(page, "rho_Asr") == ["0.2"] * 5
    page.get_by_role("button", name="Hide all").locator("visible=true").click()
    assert headings(page) == ["rank", "defense", "RA", "rho_Acc", "flip rate"]


# Sorting and filtering.

def test_a_ranking_is_sorted_by_the_first_number_of_its_cells_and_back(shown):
    page = shown()
    given = column(page, "RA")
    for direction, places in [("ascending", [2, 1, 3, 0, 4]), ("descending", [0, 3, 1, 2, 4]), ("none", range(5))]:
        press(page, "RA")
        assert column(page, "RA") == [given[place] for place in places]
        assert page.locator("thead:visible th[data-title=RA]").get_attribute("aria-sort") == direction
    press(page, "rank")
    assert column(page, "rank") == ["1", "2", "10", "control", "incomplete"]
    assert page.evaluate("document.activeElement.textContent") == "rank"


def test_rows_are_filtered_and_counted_and_shown_again(shown):
    page = shown()
    page.get_by_label("filter defenses").locator("visible=true").fill("FINE")
    assert column(page, "defense") == ["fine_tune"] and status(page) == "1 of 5 rows"
    button = page.get_by_role("button", name="Show all rows").locator("visible=true")
    button.click()
    assert len(column(page, "defense")) == 5 and button.count() == 0


def test_results_are_sorted_filtered_and_opened_by_keyboard(shown):
    page = shown("#tab=cells", PHONE)
    assert page.title() == TITLE and NASTY in column(page, "defense")
    every = len(column(page, "defense"))
    unfold(page, "Columns")
    page.get_by_role("checkbox", name="MAE").locator("visible=true").check()
    for sign in (1, -1):
        press(page, "MAE")
        errors = [sign * float(text) for text in column(page, "MAE")]
        assert errors == sorted(errors)
    unfold(page, "Filters")
    page.get_by_label("target").focus()
    page.keyboard.type("minus")
    assert set(column(page, "attack")) == {"blended/minus"}
    assert status(page) == f"{len(column(page, 'MAE'))} of {every} rows"
    button = page.locator("tbody:visible button").first
    button.focus()
    page.keyboard.press("Enter")
    assert button.get_attribute("aria-expanded") == "true" and page.locator("tr.open svg").count() >= 1
    page.keyboard.press("Enter")
    assert page.locator("tr.open").count() == 0


# What is explained.

def test_a_heading_says_what_it_means_to_a_pointer_a_keyboard_and_a_screen_reader(shown):
    page = shown()
    tip = page.get_by_role("tooltip")
    button = page.locator("thead:visible").get_by_role("button", name="RA", exact=True)
    meaning = page.locator(f"[id='{button.get_attribute('aria-describedby')}']").inner_text()
    assert "counted to within 10% of the truth" in meaning and not tip.is_visible()
    button.hover()
    assert tip.is_visible() and tip.inner_text() == meaning
    page.mouse.down()
    page.mouse.up()
    assert not tip.is_visible()  # it would cover the rows that were just sorted
    page.mouse.move(5, 5)
    button.hover()
    page.mouse.move(5, 5)
    assert not tip.is_visible()
    page.locator("thead:visible button", has_text="defense").focus()
    page.keyboard.press("Tab")
    assert tip.is_visible() and tip.inner_text() == meaning
    page.keyboard.press("Escape")
    assert not tip.is_visible()


@pytest.mark.parametrize("size", [LAPTOP, PHONE])
def test_an_explanation_stays_on_the_screen(shown, size):
    page = shown(size=size)
    for button in page.locator("thead:visible button:visible").all():
        page.mouse.move(5, 5)
        button.hover()
        if button.get_attribute("aria-describedby"):
            box = page.get_by_role("tooltip").bounding_box()
            assert box["x"] >= 0 and box["x"] + box["width"] <= size[0] and box["y"] + box["height"] <= size[1]


# Where links and tabs lead.

def test_a_defense_leads_to_its_cells_and_its_strengths(shown):
    page = shown()
    page.get_by_role("link", name="fst (lr not set)").locator("visible=true").click()
    assert selected(page) == ["All results"] and set(column(page, "defense")) == {"fst (lr not set)"}
    assert page.evaluate("document.activeElement.getAttribute('role')") == "tabpanel"
    page.go_back()
    page.get_by_role("link", name="fine_tune").locator("visible=true").click()
    assert set(column(page, "defense")) == {"fine_tune"}
    page.go_back()
    assert page.get_by_role("link", name="strengths of").locator("visible=true").count() == 1
    page.get_by_role("link", name="strengths of fst").locator("visible=true").click()
    assert selected(page) == ["Strengths"] and page.locator("figure circle").count() == 2
    assert column(page, "defense") == ["none", "fst (lr 0.1)", "fst (lr 0.2)", "fst (lr not set)"]
    assert column(page, "strength") == ["/", "0.1", "0.2", "chosen"]


def test_an_attack_leads_to_its_cells(shown):
    page = shown("#tab=attacks")
    page.get_by_role("link", name="blended/minus").locator("visible=true").click()
    assert selected(page) == ["All results"] and set(column(page, "attack")) == {"blended/minus"}


def test_the_sides_and_grids_are_tabs_of_the_arrow_keys(shown):
    page = shown()
    assert tabs(page) == ["Defenses", "Attacks", "Strengths", "All results", "small-1", "large-1"]
    assert selected(page) == ["Defenses", "small-1"]
    page.get_by_role("tab", name="small-1").focus()
    page.keyboard.press("ArrowRight")
    assert selected(page) == ["Defenses", "large-1"] and len(column(page, "defense")) == 2
    assert page.evaluate("document.activeElement.textContent") == "large-1"
    page.keyboard.press("ArrowRight")
    assert selected(page) == ["Defenses", "small-1"]
    page.keyboard.press("Shift+Tab")
    assert page.evaluate("document.activeElement.textContent") == "Defenses"  # of each list one tab is reached
    page.keyboard.press("End")
    assert selected(page) == ["All results"]
    page.keyboard.press("Home")
    page.keyboard.press("ArrowLeft")
    assert selected(page) == ["All results"]
    page.reload()
    assert selected(page) == ["All results"]


def test_every_table_has_a_caption_and_headings_of_columns_and_rows(shown):
    page = shown()
    for table in page.locator("table").all():
        assert table.locator("caption").text_content()
        assert {cell.get_attribute("scope") for cell in table.locator("thead th").all()} == {"col"}
        rows = table.locator("tbody tr").count()
        assert rows and table.locator("tbody th[scope=row]").count() == rows


# Whose text it is, and in which colours.

def test_an_entry_says_whose_it_is_and_links_only_to_the_web(shown):
    page = shown("#tab=cells")
    page.get_by_role("button", name="entered").click()
    told = page.locator("tr.open dl").first
    assert "recomputed from counts" in told.inner_text() and "javascript:alert(1)" in told.inner_text()
    assert [link.get_attribute("href") for link in told.locator("a").all()] == ["https://example.org/paper"]


@pytest.mark.parametrize("place", [
    "", "#tab=cells&cells.find=<img src=x onerror=alert(1)>", f"#tab={NASTY}&theme={NASTY}",
    "#cells.name=constructor&frontiers.name=__proto__&leaderboard-small-1.sort=toString"])
def test_text_of_records_and_addresses_stays_text(shown, place):
    page = shown(place)
    assert page.title() == TITLE and page.locator("img").count() == 0 and page.locator("script").count() == 2
    assert page.locator("h2").first.text_content() == f"Leaderboard of {NASTY}"
    assert page.locator("tbody").first.locator("th").nth(2).text_content() == NASTY


def test_colours_are_those_of_the_system_until_others_are_chosen(shown):
    def back(page):
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    light, dark = "rgb(255, 255, 255)", "rgb(20, 22, 26)"
    page = shown()
    button = page.get_by_role("button", name="Dark colours")
    assert back(page) == light and button.get_attribute("aria-pressed") == "false"
    page.emulate_media(color_scheme="dark")
    page.wait_for_selector("#theme[aria-pressed=true]")
    assert back(page) == dark
    button.click()
    assert back(page) == light and button.get_attribute("aria-pressed") == "false"
    page.get_by_role("link", name="fine_tune").locator("visible=true").click()
    page.reload()
    assert back(page) == light


@pytest.mark.parametrize("size, colours", [(LAPTOP, "light"), (PHONE, "dark")])
@pytest.mark.parametrize("place", ["", "#tab=attacks", "#tab=frontiers", "#tab=cells"])
def test_axe_finds_no_barrier(shown, size, colours, place):
    pytest.importorskip("axe_playwright_python", reason="axe-playwright-python, which has axe-core, is not installed")
    page = shown(place, size, colours)
    for summary in page.locator("summary:visible").all():
        summary.click()
    if page.locator("tbody button:visible").count():
        page.locator("tbody button:visible").first.click()
    page.evaluate((files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8"))
    found = page.evaluate("axe.run()")
    assert [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in found["violations"]] == []
    assert {"color-contrast", "button-name", "label"} <= {rule["id"] for rule in found["passes"]}
