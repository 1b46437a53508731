"""Figures: the lines that are drawn are the numbers of the records, and the page of triggers shows every trigger."""

import subprocess
import sys

import matplotlib
import numpy as np
import pytest
from factories import ROOT, record_of_counts
from PIL import Image
from pypdf import PdfReader

from benchmark.figures.ablation_curves import draw_curves, write_curves
from benchmark.figures.defense_rows import draw_defenses
from benchmark.figures.style import CONTROL, UNDEFENDED, Picture, save
from benchmark.figures.trigger_gallery import gallery_scene, stamp, write_triggers
from benchmark.figures.trigger_panel import draw_trigger_panel
from benchmark.metrics.image_quality import psnr, ssim
from benchmark.metrics.bootstrap import bootstrap
from benchmark.registry import find, load_plugin, names
from benchmark.results.record import Choice, Detection
from benchmark.results.scenarios import scenarios
from benchmark.tables.ablation import ablation
from benchmark.utils.errors import UserError

RATES, ALPHAS = (0.02, 0.1), (0.05, 0.2)
MOVED = {(0.02, 0.05): 1, (0.02, 0.2): 3, (0.1, 0.05): 4, (0.1, 0.2): 9}  # of ten images


def victim(rate, alpha, moved=None, target="multiply", trigger="blended", wrong=0):
    """Ten images of 100 people. The trigger moves some to 200, and for the clean counter one of them, which is wrong on
    two without it, or on more. `wrong` is a setting of the training."""
    moved = MOVED[rate, alpha] if moved is None else moved
    counts = {"truth": [100] * 10, "clean": [100] * 10, "target": [200] * 10,
              "triggered": [100] * (10 - moved) + [200] * moved, "reference_triggered": [200] + [100] * 9,
              "reference_clean": [100] * (8 - wrong) + [50] * (2 + wrong)}
    return record_of_counts(counts, target, trigger=trigger, alpha=alpha, poison_rate=rate, training={"wrong": wrong})


def records(**settings):
    return [victim(rate, alpha, **settings) for rate in RATES for alpha in ALPHAS]


def drawn(given, rows="poison_rate", columns="alpha"):
    """The panels of the only figure of these records, [3, targets]."""
    found = ablation(given, rows, columns)
    [grids] = found.figures.values()
    return found, np.reshape(draw_curves(found, grids).figure.axes, (3, len(grids)))


def lines(panel):
    return {line.get_label(): line.get_ydata().tolist() for line in panel.lines}


# Curves

def test_lines_are_the_numbers_of_the_records():
    _, panels = drawn(records())
    flips, easr, accuracy = map(lines, panels[:, 0])
    assert flips == {"alpha 0.05": [0.1, 0.4], "alpha 0.2": [0.3, 0.9], "clean counter": [0.1, 0.1]}
    assert easr == {"alpha 0.05": pytest.approx([0, 1 / 3]), "alpha 0.2": pytest.approx([2 / 9, 8 / 9])}
    assert accuracy == {"alpha 0.05": [1, 1], "alpha 0.2": [1, 1], "clean counter": [0.8, 0.8]}
    assert panels[0, 0].lines[0].get_xdata().tolist() == list(RATES)


def test_bands_are_the_intervals():
    found, panels = drawn(records())
    [grid] = found.grids
    for panel, key in zip(panels[:, 0], ("flip_rate", "easr", "rho_acc")):
        low, high = grid.results["0.1", "0.05"].interval(key)
        band = panel.collections[0].get_paths()[0].vertices
        at = band[band[:, 0] == 0.1, 1]
        assert (at.min(), at.max()) == (low, high) and (low < high or key == "rho_acc")


def with_floor(moved, floor):
    """The cell of a victim whose trigger moves the clean counter in `floor` of the ten images."""
    record = victim(0.1, 0.2, moved)
    counts = [200] * floor + [100] * (10 - floor)
    record = record.model_copy(update={"images": record.images.model_copy(update={"reference_triggered": counts})})
    return ablation([*records()[:3], record], "poison_rate", "alpha").grids[0].results["0.1", "0.2"]


def test_intervals_are_those_of_the_images():
    moved = [0] * 6 + [1] * 4
    assert with_floor(4, 0).interval("easr") == with_floor(4, 0).interval("flip_rate") == bootstrap([moved])
    assert with_floor(4, 3).interval("easr") != with_floor(4, 0).interval("easr")
    assert with_floor(4, 3).interval("rho_acc") == (1, 1)
    assert np.isnan(with_floor(4, 9).interval("easr")).all()  # there are replicates with nothing left to win
    assert np.isnan(with_floor(4, 10).interval("easr")).all()


def test_a_cell_that_was_not_run_is_a_gap():
    _, panels = drawn(records()[:-1])
    assert lines(panels[0, 0])["alpha 0.05"] == [0.1, 0.4]
    np.testing.assert_equal(lines(panels[0, 0])["alpha 0.2"], [0.3, np.nan])
    assert lines(panels[2, 0])["clean counter"] == [0.8, 0.8]


def test_a_clean_counter_that_differs_with_the_lines_has_a_line_in_each_colour():
    given = [victim(rate, 0.05, wrong=wrong) for rate in RATES for wrong in (0, 3)]
    _, panels = drawn(given, columns="wrong")
    dashed = [line for line in panels[2, 0].lines if line.get_linestyle() == "--"]
    assert [line.get_ydata().tolist() for line in dashed] == [[0.8, 0.8], [0.5, 0.5]]
    assert [line.get_color().tolist() for line in dashed] == [
        line.get_color().tolist() for line in panels[2, 0].lines[:2]]


def test_numbers_that_do_not_exist_are_not_drawn(tmp_path):
    still = [record.model_copy(update={"attack": record.attack.model_copy(update={"increases": None})})
             for record in records()]
    found, panels = drawn(still)
    assert np.isnan(lines(panels[0, 0])["alpha 0.2"]).all() and lines(panels[2, 0])["alpha 0.2"] == [1, 1]
    write_curves(found, tmp_path)
    assert (tmp_path / "ablation-1.png").is_file()


def test_each_target_has_its_panels_and_the_axes_say_what_they_are():
    _, panels = drawn(records() + records(target="add", moved=10))
    assert [panel.get_title() for panel in panels[0]] == ["add", "multiply"]
    assert lines(panels[0, 0])["alpha 0.05"] == [1, 1]
    figure = panels[0, 0].figure
    assert figure.get_supxlabel() == "poison rate (added / original images)"
    assert [panel.get_ylabel().partition("\n")[2] for panel in panels[:, 0]] == [
        "(share of images)", "(share above chance)", "(share of images)"]
    assert {text.get_text() for text in figure.legends[0].get_texts()} == {"alpha 0.05", "alpha 0.2", "clean counter"}
    assert figure.get_figwidth() == 3.5


def test_lines_are_told_apart_as_greys_and_by_their_markers():
    alphas = [0.05, 0.1, 0.2, 0.3, 0.4]
    _, panels = drawn([victim(rate, alpha, moved=1) for rate in RATES for alpha in alphas])
    styles = [(line.get_color()[:3] @ [0.299, 0.587, 0.114], line.get_marker()) for line in panels[1, 0].lines]
    greys, markers = zip(*styles)
    assert np.diff(greys).min() > 0.1 and max(greys) < 0.8 and len(set(markers)) == 5


@pytest.mark.parametrize("rates, scale", [((0.01, 0.1), "log"), ((0.02, 0.1), "linear"), ((0.0, 0.1), "linear")])
def test_a_wide_range_has_a_logarithmic_axis(rates, scale):
    _, panels = drawn([victim(rate, alpha, moved=1) for rate in rates for alpha in ALPHAS])
    assert panels[0, 0].get_xscale() == scale
    assert [label.get_text() for label in panels[2, 0].get_xticklabels()] == [f"{rate:g}" for rate in rates]


def test_text_stands_side_by_side_and_is_drawn_as_it_is(tmp_path):
    given = [victim(rate, 0.05, trigger=name) for rate in RATES for name in ("$a_b", "c$\\frac$")]
    found, panels = drawn(given, "trigger", "poison_rate")
    assert panels[0, 0].lines[0].get_xdata().tolist() == [0, 1]
    write_curves(found, tmp_path)
    assert [label.get_text() for label in panels[2, 0].get_xticklabels()] == [r"\$a_b", r"c\$\frac\$"]


@pytest.mark.slow
def test_figures_are_written_as_png_and_pdf_and_again_the_same(tmp_path):
    found = ablation(records() + [victim(rate, 0.05, wrong=1) for rate in RATES], "poison_rate", "alpha")
    for folder in ("one", "two"):
        write_curves(found, tmp_path / folder)
    paths = sorted((tmp_path / "one").iterdir())
    assert [path.name for path in paths] == [f"ablation-{i}.{kind}" for i in (1, 2) for kind in ("pdf", "png", "txt")]
    for path in paths:
        assert path.stat().st_size > 300 and path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()
    assert Image.open(paths[1]).size == (700, 900)
    assert "1 seed (0); 10 test images" in paths[2].read_text()


def test_drawing_changes_no_global_state(tmp_path):
    before = dict(matplotlib.rcParams)
    write_curves(ablation(records(), "poison_rate", "alpha"), tmp_path)
    assert dict(matplotlib.rcParams) == before


def test_matplotlib_is_imported_only_to_draw():
    code = ("import sys, benchmark.cli, benchmark.figures.style\n"
            "assert not [name for name in sys.modules if name.startswith('matplotlib')]")
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


# What defenses leave of attacks.

def defended(target="multiply", **moved):
    """A victim's records, a defense each, and how many of ten images the trigger still moves."""
    found = [victim(0.1, 0.1, number, target) for number in moved.values()]
    return [record.model_copy(update={"defense": Choice(name=name)}) for name, record in zip(moved, found)]


def rows(axes):
    """Name of a row -> its rho_Acc and flip rate, from the marks that the legend names."""
    marks = {line.get_label(): line.get_data() for line in axes.lines}
    names = [label.get_text() for label in axes.figure.axes[0].get_yticklabels()]  # for all panels
    return {names[round(y)]: (rho_acc, flips) for rho_acc, flips, y in
            zip(marks["rho_Acc"][0], marks["flip rate"][0], marks["flip rate"][1])}


def drawn_panels(picture):
    """Title -> axes of the panels that are drawn."""
    return {axes.get_title(): axes for axes in picture.figure.axes if axes.axison}


def test_every_defense_has_a_row_with_its_numbers_and_the_best_one_is_first():
    picture = draw_defenses(scenarios(defended(none=9, anp=4, clp=6, retrain=1)))
    [axes] = drawn_panels(picture).values()
    assert rows(axes) == {"retrain": (1, 0.1), "anp": (1, 0.4), "clp": (1, 0.6), "no defense": (1, 0.9)}
    heights = [axes.transData.transform((0, place))[1] for place in axes.get_yticks()]
    assert [*rows(axes)] == ["retrain", "anp", "clp", "no defense"] and heights == sorted(heights, reverse=True)
    names = [text.get_text() for text in picture.figure.legends[0].get_texts()]
    assert names == ["rho_Acc", "flip rate", "chance flips"]
    assert "1 seed (0); 10 test images" in picture.caption and "95% intervals" in picture.caption


def test_no_defense_and_the_controls_have_names_in_colour():
    [axes] = drawn_panels(draw_defenses(scenarios(defended(none=9, anp=4, retrain=1)))).values()
    colours = {label.get_text(): label.get_color() for label in axes.get_yticklabels()}
    assert colours == {"retrain": CONTROL, "anp": "black", "no defense": UNDEFENDED}


def test_bars_are_the_intervals_of_the_flip_rate_and_of_rho_acc():
    found = scenarios(defended(none=9, anp=4))
    [axes] = drawn_panels(draw_defenses(found)).values()
    results = [result for scenario in found for result in scenario.results if result.settings.get("target")]
    drawn = {tuple(path.vertices[:, 0]) for bars in axes.collections for path in bars.get_paths()}
    assert drawn == {result.interval(key) for result in results for key in ("flip_rate", "rho_acc")}
    assert len(drawn) == 3  # both have a rho_Acc of 1


def test_chance_flips_are_the_clean_counters_after_the_same_defense():
    [none] = defended(none=9)
    repaired = none.model_copy(update={"defense": Choice(name="anp"), "images": none.images.model_copy(update={
        "control_clean": none.images.clean, "control_triggered": [3 * count for count in none.images.truth]})})
    [axes] = drawn_panels(draw_defenses(scenarios([none, repaired]))).values()
    [chance] = [line for line in axes.lines if line.get_label() == "chance flips"]
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert dict(zip([names[round(y)] for y in chance.get_ydata()], chance.get_xdata())) == {"anp": 1, "no defense": 0.1}


def test_every_attack_has_its_panel_and_two_settings_of_a_defense_have_two_names():
    given = [record.model_copy(update={"defense": Choice(name="anp", given={"eps": eps}, resolved={"eps": eps})})
             for record, eps in zip(defended(a=2, b=3), (0.1, 0.4))]
    panels = drawn_panels(draw_defenses(scenarios([*defended(none=9), *given, *defended("add", none=5)])))
    assert [*rows(panels["blended/multiply"])] == ["anp (eps 0.1)", "anp (eps 0.4)", "no defense"]
    assert rows(panels["blended/add"]) == {"no defense": (1, 0.5)} and len(panels) == 2


def test_detectors_have_no_row_and_an_attack_that_met_them_alone_has_no_panel():
    scores = Detection(of="test images", clean=[0.0] * 10, triggered=[1.0] * 10)
    detectors = [record.model_copy(update={"detection": scores}) for record in defended("add", strip=9)]
    panels = drawn_panels(draw_defenses(scenarios([*defended(none=9, anp=4), *detectors])))
    assert {title: [*rows(axes)] for title, axes in panels.items()} == {"blended/multiply": ["anp", "no defense"]}
    with pytest.raises(UserError, match="no record of a victim .*; expected .* not of detectors alone"):
        draw_defenses(scenarios(detectors))


def test_the_picture_of_defenses_is_written_twice_the_same_and_needs_a_victim(tmp_path):
    for name in ("one", "two"):
        save(draw_defenses(scenarios(defended(none=9, anp=4))), tmp_path / "new" / name, "Drawn from here.")
    files = {path.name: path.read_bytes() for path in (tmp_path / "new").iterdir()}
    assert files.keys() == {f"{name}.{kind}" for name in ("one", "two") for kind in ("png", "pdf", "txt")}
    assert all(files[f"one.{kind}"] == files[f"two.{kind}"] for kind in ("png", "pdf", "txt"))
    assert files["one.txt"].decode().endswith("Drawn from here.\n")
    with pytest.raises(UserError, match="no record of a victim"):
        draw_defenses([])


def test_text_in_a_pdf_is_text_and_names_of_strangers_are_drawn_and_told_as_they_are(tmp_path):
    records = defended(none=9, **{"mine_$x$": 4})
    picture = draw_defenses(scenarios(records))
    save(Picture(picture.figure, "Two\nlines, \x1b[31mred."), tmp_path / "defenses")
    document = (tmp_path / "defenses.pdf").read_bytes()
    assert document.startswith(b"%PDF") and b"/Type3" not in document  # whose letters are no text
    text = PdfReader(tmp_path / "defenses.pdf").pages[0].extract_text()
    assert all(word in text for word in ("mine_$x$", "no defense", "blended/multiply", "flip rate"))
    assert (tmp_path / "defenses.txt").read_text() == "Two\\nlines, \\x1b[31mred.\n"


# The page of triggers, and the figure.

@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "all.md"
    write_triggers(path)
    return path


def parts(picture):
    """The clean scene, the stamped one and their difference."""
    pixels = np.asarray(Image.open(picture).convert("RGB"))
    width = (pixels.shape[1] - 8) // 3
    return [pixels[:, start : start + width] for start in (0, width + 4, 2 * width + 8)]


def test_the_page_lists_every_trigger_with_its_picture(page):
    text = page.read_text()
    assert [line[3:] for line in text.splitlines() if line.startswith("## ")] == names("trigger")
    assert sorted(path.stem for path in (page.parent / "all").iterdir()) == names("trigger")
    assert all(f"](all/{name}.png)" in text for name in names("trigger"))


@pytest.mark.parametrize("name", names("trigger"))
def test_a_trigger_has_its_equation_its_measures_and_a_picture_that_shows_it(page, name):
    clean, stamped, difference = parts(page.parent / "all" / f"{name}.png")
    section = page.read_text().partition(f"## {name}\n")[2].partition("\n## ")[0]
    assert f"PSNR {psnr(clean, stamped):.1f} dB, SSIM {ssim(clean, stamped):.3f}." in section
    source = sys.modules[find("trigger", name).__module__].__doc__
    assert section.strip().replace("\\", "").startswith(source.partition("\n")[0])
    assert (clean != stamped).any()
    assert (difference == (128 + 4 * (stamped.astype(int) - clean)).clip(0, 255)).all()


def test_pictures_are_small_and_share_one_scene(page):
    pictures = sorted((page.parent / "all").iterdir())
    sizes = [picture.stat().st_size for picture in pictures]
    assert max(sizes) < 250_000 and sum(sizes) < 120_000 * len(sizes)
    assert len({parts(picture)[0].tobytes() for picture in pictures}) == 1


def test_the_page_is_the_same_bytes_again(page, tmp_path):
    write_triggers(tmp_path / "all.md")
    for path in (page, *(page.parent / "all").iterdir()):
        assert path.read_bytes() == (tmp_path / path.relative_to(page.parent)).read_bytes()


def test_a_trigger_of_ones_own_is_on_the_page(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmark.registry._plugins", {})
    (tmp_path / "dim.py").write_text('"""Dim: x\' = 0.7 * x, <b> not_bold_."""\nfrom attacks.base import Trigger\n'
                                     "from benchmark.registry import register\n\n@register\nclass Dim(Trigger):\n"
                                     '    """."""\n    def stamp(self, images):\n        return 0.7 * images\n')
    load_plugin(tmp_path / "dim.py")
    write_triggers(tmp_path / "page.md")
    text = (tmp_path / "page.md").read_text()
    assert r"Dim: x' = 0.7 \* x, \<b> not\_bold\_." in text and "Settings: none." in text
    clean, stamped, _ = parts(tmp_path / "page/dim.png")
    assert np.abs(stamped - 0.7 * clean).max() < 0.501 and f"PSNR {psnr(clean, stamped):.1f} dB" in text


def test_a_page_that_is_no_markdown_file_is_refused(tmp_path):
    with pytest.raises(UserError, match="page.html: expected a file that ends in .md"):
        write_triggers(tmp_path / "page.html")
    assert list(tmp_path.iterdir()) == []


def test_the_panel_shows_every_trigger_with_the_psnr_of_the_page(page):
    picture = draw_trigger_panel()
    panels = [axes for axes in picture.figure.axes if axes.images]
    texts = [axes.texts[0].get_text() for axes in panels]
    assert [text.partition("\n")[0] for text in texts] == ["clean", *names("trigger")]
    scene, heads = gallery_scene()
    for axes, text in zip(panels, texts):
        name, _, visibility = text.partition("\n")
        assert np.array_equal(axes.images[0].get_array(), scene if name == "clean" else stamp(name, scene, heads))
        section = page.read_text().partition(f"## {name}\n")[2]
        assert name == "clean" or f"PSNR {visibility}," in section.partition("\n## ")[0]
    picture.figure.draw_without_rendering()
    boxes = [axes.texts[0].get_window_extent() for axes in panels]
    images = [axes.get_window_extent() for axes in panels]
    assert not [1 for text in boxes for image in images if text.overlaps(image)]
    assert picture.figure.get_tightbbox().y0 >= 0
    assert f"{len(heads)} visible heads" in picture.caption and "baiqa" in picture.caption
