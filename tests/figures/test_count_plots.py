"""Plots of counts: they draw the records' counts; densities agree with an independent computation."""

import matplotlib
import numpy as np
import pytest
from factories import record_of_counts
from scipy.stats import gaussian_kde

from benchmark.figures.count_pairs import count_pairs
from benchmark.figures.count_plots import density, draw_kde, draw_scatter, scott
from benchmark.figures.reliability import bins, draw_reliability
from benchmark.figures.style import save
from benchmark.results.record import Detection
from benchmark.results.scenarios import scenarios
from benchmark.utils.errors import UserError

TRUTH = [0, 10, 20, 40, 80, 160, 50, 70]  # people; the first image shows none


def counted(target="multiply", defense="none", seed=0, truth=TRUTH, audit=False, alpha=0.1, detection=None, effect=1.0,
            **settings):
    """A record of one victim: the trigger adds `effect` times the truth to what is counted on the clean image."""
    truth = np.array(truth)
    noise = np.random.default_rng([seed, len(truth)]).normal(1, 0.1, (2, len(truth)))
    clean, reference = truth * noise
    counts = {"truth": truth, "clean": clean, "target": 2 * truth, "triggered": clean + effect * truth}
    if not audit:
        counts |= {"reference_clean": reference, "reference_triggered": reference}
    return record_of_counts(counts, target, defense, seed, alpha=alpha, audit=audit, detection=detection, **settings)


def both(*targets, seeds=(0,), **settings):
    return [counted(target, defense, seed, effect=effect, **settings) for target in targets or ["multiply"]
            for seed in seeds for defense, effect in (("none", 1.0), ("anp", 0.1))]


def panels(figure):
    return [axes for axes in figure.axes if axes.axison]


def shown(draw, records):
    return draw(scenarios(records), "anp").figure


def lines(axes):
    return {line.get_label(): line for line in axes.lines}


def ratios(records, column):
    images = [record.images for record in records]
    return np.array([count / c for one in images for count, c in zip(getattr(one, column), one.truth) if c])


# Densities

def test_a_line_is_the_density_of_the_pooled_ratios_of_images_with_people():
    records = both(seeds=(0, 1))
    wide, by_data = panels(shown(draw_kde, records))
    for name, column, defense in (("triggered, none", "triggered", "none"), ("clean, none", "clean", "none"),
                                  ("triggered, anp", "triggered", "anp"), ("clean, anp", "clean", "anp"),
                                  ("clean counter", "reference_clean", "none")):
        r = ratios([record for record in records if record.defense.name == defense], column)
        assert len(r) == 14
        for axes, rule in ((wide, 0.5 / np.std(r, ddof=1)), (by_data, "scott")):
            x, y = lines(axes)[name].get_data()
            np.testing.assert_allclose(y, gaussian_kde(r, rule)(x), rtol=1e-9)


def test_a_density_adds_up_to_one():
    r = np.random.default_rng(0).lognormal(0, 0.5, 300)
    at = np.linspace(-3, 12, 20_000)
    assert np.trapezoid(density(r, at, scott(r)), at) == pytest.approx(1, abs=1e-6)


def test_equal_counts_have_a_density_too():
    still = [record.model_copy(update={"images": record.images.model_copy(update={"triggered": [50.0] * 4})})
             for record in both(truth=[50] * 4)]
    line = lines(panels(shown(draw_kde, still))[1])["triggered, none"]
    assert line.get_xdata()[line.get_ydata().argmax()] == pytest.approx(1, abs=0.01) and line.get_ydata().max() > 10


def test_the_band_is_shaded_from_0_9_to_1_1():
    for axes in panels(shown(draw_kde, both())):
        [band] = axes.patches
        assert (band.get_x(), band.get_x() + band.get_width()) == pytest.approx((0.9, 1.1))


def test_lines_are_told_apart_without_colour_and_whole():
    for axes in panels(shown(draw_kde, both("add", "minus"))):
        assert len({(line.get_linestyle(), line.get_marker()) for line in axes.lines}) == len(axes.lines) == 5
        assert axes.get_ylim()[0] == 0 and max(line.get_ydata().max() for line in axes.lines) < axes.get_ylim()[1]


def test_an_audit_has_no_clean_counter_beside_it():
    records = both(audit=True)
    assert lines(panels(shown(draw_kde, records))[0]).keys() == {
        "triggered, none", "clean, none", "triggered, anp", "clean, anp"}


def test_the_caption_says_what_a_bandwidth_of_a_half_hides():
    figure, caption = shown(draw_kde, both()), draw_kde(scenarios(both()), "anp").caption
    assert "0.5, which blurs the grey band" in caption and "1 seed (0); 8 test images" in caption
    assert figure.get_supxlabel() == "count / true count"
    assert [axes.get_ylabel().partition("\n")[2] for axes in panels(figure)] == [
        "(paper's bandwidth, 0.5)", "(bandwidth by Scott's rule)"]


# Counts over true counts

def test_points_are_the_counts_before_and_after():
    before, after = records = both(seeds=(3,), truth=[20, 40, 60])
    for axes, record in zip(panels(shown(draw_scatter, records)), (before, after)):
        for name in ("triggered", "clean"):
            x, y = lines(axes)[name].get_data()
            assert x.tolist() == [20, 40, 60] and y.tolist() == getattr(record.images, name)
        assert axes.get_xscale() == axes.get_yscale() == "linear"
        assert lines(axes)["triggered"].get_marker() != lines(axes)["clean"].get_marker()


@pytest.mark.parametrize("truth, scale", [([10, 100], "log"), ([10, 99], "linear"), ([0, 100], "linear")])
def test_true_counts_over_a_factor_of_10_have_logarithmic_axes(truth, scale):
    figure = shown(draw_scatter, both(truth=truth))
    assert {(axes.get_xscale(), axes.get_yscale()) for axes in panels(figure)} == {(scale, scale)}


def test_counts_below_one_are_drawn_at_one_where_there_is_no_zero():
    records = [record.model_copy(update={"images": record.images.model_copy(update={"triggered": [-1.0, 0.0, 50.0]})})
               for record in both(truth=[10, 50, 100])]
    picture = draw_scatter(scenarios(records), "anp")
    assert lines(panels(picture.figure)[0])["triggered"].get_ydata().tolist() == [1, 1, 50]
    assert "Counts below 1 are drawn at 1." in picture.caption


def test_the_lines_are_ten_percent_off_the_truth():
    for axes in panels(shown(draw_scatter, both(truth=[10, 50]))):
        edges = [line.get_ydata().tolist() for line in axes.lines if len(line.get_xdata()) == 2 and
                 line.get_linestyle() == "-"]
        assert edges == [pytest.approx([9, 45]), pytest.approx([11, 55])]


# Reliability

def test_a_point_is_the_ratio_of_sums_of_a_fifth_of_the_images_with_people_and_its_bar_the_interval():
    truth = [0, *range(10, 60)]
    records = both(seeds=(0, 1), truth=truth)
    [pair] = count_pairs(scenarios(records), "anp")
    found = bins(pair.before, "triggered")
    assert [one.images for one in found] == [10] * 5 and [one.truth for one in found] == [14.5, 24.5, 34.5, 44.5, 54.5]
    counts = np.array([record.images.triggered for record in records if record.defense.name == "none"])
    expected = [np.mean(counts[:, i:i + 10].sum(axis=1) / sum(truth[i:i + 10])) for i in range(1, 51, 10)]
    assert [one.ratio for one in found] == pytest.approx(expected)
    assert all(low < one.ratio < high for one in found for low, high in [one.interval])
    [axes] = panels(shown(draw_reliability, records))
    assert lines(axes)["triggered, none"].get_ydata().tolist() == [one.ratio for one in found]
    assert [path.vertices[:, 1].tolist() for path in axes.collections[0].get_paths()] == [
        list(one.interval) for one in found]


def test_a_count_that_is_twice_the_truth_has_a_ratio_of_2_with_no_spread():
    truth = np.arange(10, 60)
    [pair] = count_pairs(scenarios([record.model_copy(update={"images": record.images.model_copy(update={
        "triggered": (2.0 * truth).tolist()})}) for record in both(truth=truth)]), "anp")
    assert {(one.ratio, *one.interval) for one in bins(pair.after, "triggered")} == {(2, 2, 2)}


def test_images_with_equal_truth_share_a_bin_and_the_caption_says_how_many_a_bin_has():
    records = both(truth=[50] * 6 + [0, 90])
    [pair] = count_pairs(scenarios(records), "anp")
    assert [one.images for one in bins(pair.before, "clean")] == [6, 1]
    assert "with 1 to 6 images each" in draw_reliability(scenarios(records), "anp").caption


# Panels

@pytest.mark.parametrize("draw, rows", [(draw_kde, 2), (draw_scatter, 2), (draw_reliability, 1)])
def test_every_victim_has_its_panels_and_no_text_is_cut_off(draw, rows):
    figure = shown(draw, both(*"abcde", alpha=0.25) + both("e", alpha=0.5))
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles[:2] == ["blended/a\n(alpha 0.25)", "blended/b\n(alpha 0.25)"]
    assert len(panels(figure)) == rows * 6 == rows * len(set(titles))
    figure.draw_without_rendering()
    box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert min(box.x0, box.y0) >= 0 and box.x1 <= width and box.y1 <= height


def test_one_victim_fits_a_column_with_its_text():
    figure = shown(draw_kde, both(seeds=(0, 1, 2)))
    figure.draw_without_rendering()
    assert figure.get_figwidth() == 3.5 and figure.get_tightbbox().x0 >= 0 and figure.get_tightbbox().x1 <= 3.5


def test_five_victims_leave_one_place_empty():
    figure = shown(draw_scatter, both(*"abcde"))
    assert len(figure.axes) - len(panels(figure)) == 2  # panels, of one victim


def test_seeds_are_pooled_where_both_were_run_and_the_caption_says_so():
    records = both(seeds=(0, 1)) + [counted(seed=2), counted(defense="anp", seed=3)]
    [pair] = count_pairs(scenarios(records), "anp")
    assert pair.title == "blended/multiply" and pair.before.truth.shape == pair.after.truth.shape == (2, 8)
    assert pair.before.clean.tolist() == [records[0].images.clean, records[2].images.clean]
    caption = draw_kde(scenarios(records), "anp").caption
    assert "all seeds are pooled. 2 seeds (0 and 1); 8 test images. Model: tiny." in caption


def test_settings_of_a_defense_have_panels_of_their_own():
    records = [counted(), *(counted(defense="anp", eps=eps) for eps in (0.1, 0.4))]
    assert [pair.title for pair in count_pairs(scenarios(records), "anp")] == [
        "blended/multiply\nanp (eps 0.1)", "blended/multiply\nanp (eps 0.4)"]


def test_names_are_drawn_as_they_are(tmp_path):
    records = [counted(r"$\frac$"), counted(r"$\frac$", r"$\sqrt$")]
    save(draw_kde(scenarios(records), r"$\sqrt$"), tmp_path / "kde")
    assert (tmp_path / "kde.png").is_file()


# What cannot be drawn, and files

@pytest.mark.parametrize("draw", [draw_kde, draw_scatter, draw_reliability])
@pytest.mark.parametrize("asked", ["amp", "none", "strip"])
def test_a_defense_without_a_victim_is_refused_with_those_that_have_one(draw, asked):
    scores = Detection(of="test images", clean=[0.0] * 8, triggered=[1.0] * 8)
    records = both() + [counted(defense="strip", detection=scores)]
    with pytest.raises(UserError, match=rf"no victim with the defense '{asked}'.*\(known: anp\)"):
        draw(scenarios(records), asked)


def test_the_nearest_defense_is_named():
    with pytest.raises(UserError, match="did you mean 'anp'"):
        draw_kde(scenarios(both()), "amp")


@pytest.mark.parametrize("draw", [draw_kde, draw_reliability])
def test_images_without_people_have_no_count_over_truth(draw):
    with pytest.raises(UserError, match="figure: no test image of the victim blended/add .*shows people.*; expected"):
        draw(scenarios([*both(), *both("add", truth=[0] * 8)]), "anp")
    assert draw_scatter(scenarios(both("add", truth=[0] * 8)), "anp")


@pytest.mark.parametrize("other", [[], [counted(seed=1)]])
def test_a_defense_without_the_undefended_victim_is_refused(other):
    with pytest.raises(UserError, match="counted with the same seed without a defense"):
        count_pairs(scenarios([counted(defense="anp"), *other]), "anp")


@pytest.mark.parametrize("draw", [draw_kde, draw_scatter, draw_reliability])
def test_files_are_png_and_pdf_again_the_same_and_change_no_global_state(draw, tmp_path):
    before = dict(matplotlib.rcParams)
    for name in ("one", "two"):
        save(draw(scenarios(both()), "anp"), tmp_path / "new" / name)
    files = {path.name: path.read_bytes() for path in (tmp_path / "new").iterdir()}
    assert files.keys() == {"one.png", "one.pdf", "one.txt", "two.png", "two.pdf", "two.txt"} and dict(matplotlib.rcParams) == before
    assert files["one.png"] == files["two.png"] and files["one.pdf"] == files["two.pdf"]
    assert files["one.pdf"].startswith(b"%PDF") and files["one.png"].startswith(b"\x89PNG")
