"""Plots of counts: they draw the records' counts; densities agree with an independent computation."""

import matplotlib
import numpy as np
import pytest
from factories import record_of_counts
from scipy.stats import gaussian_kde

from benchmark.figures.count_plots import count_pairs, density, draw_kde, draw_scatter, scott
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


def lines(axes):
    return {line.get_label(): line for line in axes.lines}


def ratios(records, column):
    images = [record.images for record in records]
    return np.array([count / c for one in images for count, c in zip(getattr(one, column), one.truth) if c])


# Densities

def test_a_line_is_the_density_of_the_pooled_ratios_of_images_with_people():
    records = both(seeds=(0, 1))
    wide, by_data = panels(draw_kde(scenarios(records), "anp"))
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
    line = lines(panels(draw_kde(scenarios(still), "anp"))[1])["triggered, none"]
    assert line.get_xdata()[line.get_ydata().argmax()] == pytest.approx(1, abs=0.01) and line.get_ydata().max() > 10


def test_the_band_is_shaded_from_0_9_to_1_1():
    for axes in panels(draw_kde(scenarios(both()), "anp")):
        [band] = axes.patches
        assert (band.get_x(), band.get_x() + band.get_width()) == pytest.approx((0.9, 1.1))


def test_lines_are_told_apart_without_colour_and_whole():
    for axes in panels(draw_kde(scenarios(both("add", "minus")), "anp")):
        assert len({(line.get_linestyle(), line.get_marker()) for line in axes.lines}) == len(axes.lines) == 5
        assert axes.get_ylim()[0] == 0 and max(line.get_ydata().max() for line in axes.lines) < axes.get_ylim()[1]


def test_an_audit_has_no_clean_counter_beside_it():
    records = both(audit=True)
    assert lines(panels(draw_kde(scenarios(records), "anp"))[0]).keys() == {
        "triggered, none", "clean, none", "triggered, anp", "clean, anp"}


def test_the_picture_says_what_a_bandwidth_of_a_half_hides():
    figure = draw_kde(scenarios(both()), "anp")
    assert "A bandwidth of 0.5 blurs the grey band" in figure.get_supxlabel().replace("\n", " ")
    assert [axes.get_ylabel().partition("\n")[2] for axes in panels(figure)] == [
        "(paper's bandwidth, 0.5)", "(bandwidth by Scott's rule)"]


# Counts over true counts

def test_points_are_the_counts_before_and_after():
    before, after = records = both(seeds=(3,), truth=[20, 40, 60])
    for axes, record in zip(panels(draw_scatter(scenarios(records), "anp")), (before, after)):
        for name in ("triggered", "clean"):
            x, y = lines(axes)[name].get_data()
            assert x.tolist() == [20, 40, 60] and y.tolist() == getattr(record.images, name)
        assert axes.get_xscale() == axes.get_yscale() == "linear"
        assert lines(axes)["triggered"].get_marker() != lines(axes)["clean"].get_marker()


@pytest.mark.parametrize("truth, scale", [([10, 100], "log"), ([10, 99], "linear"), ([0, 100], "linear")])
def test_true_counts_over_a_factor_of_10_have_logarithmic_axes(truth, scale):
    figure = draw_scatter(scenarios(both(truth=truth)), "anp")
    assert {(axes.get_xscale(), axes.get_yscale()) for axes in panels(figure)} == {(scale, scale)}


def test_counts_below_one_are_drawn_at_one_where_there_is_no_zero():
    records = [record.model_copy(update={"images": record.images.model_copy(update={"triggered": [-1.0, 0.0, 50.0]})})
               for record in both(truth=[10, 50, 100])]
    figure = draw_scatter(scenarios(records), "anp")
    assert lines(panels(figure)[0])["triggered"].get_ydata().tolist() == [1, 1, 50]
    assert "counts below 1 are drawn at 1" in figure.get_supxlabel().replace("\n", " ")


def test_the_lines_are_ten_percent_off_the_truth():
    for axes in panels(draw_scatter(scenarios(both(truth=[10, 50])), "anp")):
        edges = [line.get_ydata().tolist() for line in axes.lines if len(line.get_xdata()) == 2 and
                 line.get_linestyle() == "-"]
        assert edges == [pytest.approx([9, 45]), pytest.approx([11, 55])]


# Panels

@pytest.mark.parametrize("draw", [draw_kde, draw_scatter])
def test_every_victim_has_two_panels_and_no_text_is_cut_off(draw):
    figure = draw(scenarios(both(*"abcde", alpha=0.25) + both("e", alpha=0.5)), "anp")
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles[:2] == ["tiny blended/a\n(alpha 0.25)\nanp, seed 0", "tiny blended/b\n(alpha 0.25)\nanp, seed 0"]
    assert len(panels(figure)) == 12 == 2 * len(set(titles))
    figure.draw_without_rendering()
    box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert min(box.x0, box.y0) >= 0 and box.x1 <= width and box.y1 <= height


def test_one_victim_fits_a_column_with_its_text():
    figure = draw_kde(scenarios(both(seeds=(0, 1, 2))), "anp")
    figure.draw_without_rendering()
    assert figure.get_figwidth() == 3.5 and figure.get_tightbbox().x0 >= 0 and figure.get_tightbbox().x1 <= 3.5


def test_five_victims_leave_one_place_empty():
    figure = draw_scatter(scenarios(both(*"abcde")), "anp")
    assert len(figure.axes) - len(panels(figure)) == 2  # panels, of one victim


def test_seeds_are_pooled_where_both_were_run_and_the_title_says_so():
    records = both(seeds=(0, 1)) + [counted(seed=2), counted(defense="anp", seed=3)]
    [pair] = count_pairs(scenarios(records), "anp")
    assert pair.title == "tiny blended/multiply\nanp, seeds 0, 1 pooled"
    assert len(pair.before.truth) == len(pair.after.truth) == 16
    assert pair.before.clean.tolist() == [*records[0].images.clean, *records[2].images.clean]


def test_settings_of_a_defense_have_panels_of_their_own():
    records = [counted(), *(counted(defense="anp", eps=eps) for eps in (0.1, 0.4))]
    assert [pair.title.splitlines()[1] for pair in count_pairs(scenarios(records), "anp")] == [
        "anp (eps 0.1), seed 0", "anp (eps 0.4), seed 0"]


def test_names_are_drawn_as_they_are(tmp_path):
    records = [counted(r"$\frac$"), counted(r"$\frac$", r"$\sqrt$")]
    save(draw_kde(scenarios(records), r"$\sqrt$"), tmp_path / "kde")
    assert (tmp_path / "kde.png").is_file()


# What cannot be drawn, and files

@pytest.mark.parametrize("draw", [draw_kde, draw_scatter])
@pytest.mark.parametrize("asked", ["amp", "none", "strip"])
def test_a_defense_without_a_victim_is_refused_with_those_that_have_one(draw, asked):
    scores = Detection(of="test images", clean=[0.0] * 8, triggered=[1.0] * 8)
    records = both() + [counted(defense="strip", detection=scores)]
    with pytest.raises(UserError, match=rf"no victim with the defense '{asked}'.*\(known: anp\)"):
        draw(scenarios(records), asked)


def test_the_nearest_defense_is_named():
    with pytest.raises(UserError, match="did you mean 'anp'"):
        draw_kde(scenarios(both()), "amp")


@pytest.mark.parametrize("other", [[], [counted(seed=1)]])
def test_a_defense_without_the_undefended_victim_is_refused(other):
    with pytest.raises(UserError, match="counted with the same seed without a defense"):
        count_pairs(scenarios([counted(defense="anp"), *other]), "anp")


@pytest.mark.parametrize("draw", [draw_kde, draw_scatter])
def test_files_are_png_and_pdf_again_the_same_and_change_no_global_state(draw, tmp_path):
    before = dict(matplotlib.rcParams)
    for name in ("one", "two"):
        save(draw(scenarios(both()), "anp"), tmp_path / "new" / name)
    files = {path.name: path.read_bytes() for path in (tmp_path / "new").iterdir()}
    assert files.keys() == {"one.png", "one.pdf", "two.png", "two.pdf"} and dict(matplotlib.rcParams) == before
    assert files["one.png"] == files["two.png"] and files["one.pdf"] == files["two.pdf"]
    assert files["one.pdf"].startswith(b"%PDF") and files["one.png"].startswith(b"\x89PNG")
