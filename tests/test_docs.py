"""README and docs: commands, links, numbers and pictures are those of the program and the records."""

import re
import shlex
import subprocess
import sys

import detection_tables
import draw_docs
import numpy as np
import page_tables
import patchwork_tables
import real_tables
import survival_tables
import trigger_tables
import pytest
from factories import ROOT

from benchmark import cli
from benchmark.api import load_records
from benchmark.cli.options import request_from_flags
from benchmark.config.grid import cells
from benchmark.leaderboard.attack_ranking import attack_tables
from benchmark.leaderboard.entry_files import read_verification
from benchmark.leaderboard.load import read_record_files
from benchmark.leaderboard.validate import check_entry
from benchmark.leaderboard.verification import Verification
from benchmark.results.scenarios import scenarios

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
HERE = ("my_", "their_", "TARGET", "TRIGGER", "...")  # what a reader puts in place of these does not exist


def shown(page):
    """The commands of `crowdbench` in a page: in its blocks, and in the text between backticks."""
    text = page.read_text()
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in re.sub(r"\\\n\s*", " ", block).split("\n")]
    lines += re.findall(r"`([^`]+)`", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))
    for line in lines:
        for part in re.split(r" & |; | && ", " ".join(line.split())):
            match = re.search(r"(?:^|[\s(])(crowdbench [a-z].*)", part)
            if match:
                yield re.split(r" > | \| | #|\)$", match[1])[0]


COMMANDS = sorted({(page.name, command) for page in PAGES for command in shown(page)})


def parsed(command):
    words = shlex.split(re.sub(r"\$\w+", "1", command))[1:]
    return cli._parser().parse_args([word for word in words if word not in ("...", "&")])


def may_be_incomplete(command):
    """Whether a text only names a command, 'crowdbench compare', or leaves a part out."""
    return command.endswith("...") or all(re.fullmatch("[a-z-]+", word) for word in command.split()[:3])


@pytest.mark.parametrize("page, command", COMMANDS)
def test_a_command_that_is_shown_exists_with_its_flags(page, command):
    try:
        parsed(command)
    except cli.UserError as error:
        assert may_be_incomplete(command) and "required" in str(error), f"{command}: {error}"


@pytest.mark.parametrize("page, command", [
    (page, command) for page, command in COMMANDS
    if command.startswith("crowdbench run ") and not any(word in command for word in HERE)
    and "--weights" not in command and "model.weights" not in command])
def test_the_grid_of_a_command_that_is_shown_can_be_built(page, command):
    assert cells(request_from_flags(parsed(command)))


def anchors(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [path for path in PAGES if path.parent == ROOT], ids=lambda path: path.name)
def test_links_of_pages_outside_of_the_site_lead_somewhere(page):
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text())
    assert len(links) > 3
    for link in links:
        if not link.startswith("http"):
            path, _, anchor = link.partition("#")
            target = (page.parent / path) if path else page
            assert target.exists(), f"{page.name}: {link}"
            assert not anchor or anchor in anchors(target), f"{page.name}: {link}"


def test_the_site_is_built_without_a_broken_link(tmp_path):
    """The same is `make site`; a page that the menu lacks is an error, too."""
    pytest.importorskip("mkdocs")
    done = subprocess.run([sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", tmp_path / "site"], cwd=ROOT,
                          capture_output=True, text=True, env={"NO_MKDOCS_2_WARNING": "1"})
    assert done.returncode == 0, done.stderr
    pages = [path.stem for path in (ROOT / "docs").glob("*.md")]
    for page in pages:
        assert (tmp_path / "site" / ("" if page == "index" else page) / "index.html").is_file()


def test_the_pictures_of_the_docs_are_drawn_from_the_records_by_one_script():
    drawn = {*draw_docs.PICTURES, *draw_docs.OF_COUNTERS, draw_docs.PAGE_AS_PICTURE}
    assert {path.name for path in (ROOT / "docs").glob("*.png")} == drawn | {"quick-maps.png"}  # of a run of quick
    for command in [*draw_docs.PAGES.values(), *(["figure", *flags] for flags in draw_docs.PICTURES.values())]:
        cli._parser().parse_args(command)
        assert all((ROOT / word).is_dir() for word in command if word.startswith("records/"))


@pytest.mark.parametrize("name", draw_docs.TABLES)
def test_the_tables_of_a_page_are_those_of_the_records(name):
    page = (ROOT / "docs" / name).read_text()
    assert page_tables.written(page, draw_docs.TABLES[name]) == page and page.count("<!-- table of ") == len(draw_docs.TABLES[name])


def test_what_is_said_of_patchwork_is_what_the_records_say():
    grid = patchwork_tables.of_grid().map(lambda value: f"{value:.2f}".lstrip("0"))
    none, ours, annotated, retrain, tuned = (grid.loc[name] for name in (
        "none", "patchwork (maps victim)", "patchwork (maps annotated)", patchwork_tables.CONTROL, "fine_tune"))
    few = grid.loc[["fine_pruning", "i_bau", "fine_tune_few"]]
    page = " ".join((ROOT / "docs/patchwork.md").read_text().split())
    for said in (f"an eASR of {ours.easr} in the mean", f"the best other repair with 40 images leaves {min(few.easr)}",
                 f"as the victim does (rho_Acc {ours.rho_acc} beside {none.rho_acc})",
                 f"is as good ({annotated.rho_acc}) and flips no more images", f"has the highest RA, {ours.ra},",
                 f"fine-tuning on 216 images ({tuned.ra}). The next one has {max(few.ra)}.",
                 f"flips {ours.flip_rate} of the images, and {ours.control_flip_rate} with the repaired clean counter",
                 f"for 1.5 times as many steps (3,070 and 2,000), has a rho_Acc of {retrain.rho_acc}."):
        assert said in page
    assert annotated.flip_rate == ours.flip_rate


def test_what_is_said_of_five_seeds_of_patchwork_is_what_the_records_say():
    found, readme, page = patchwork_tables.of_each_seed(), *(
        " ".join((ROOT / name).read_text().split()) for name in ("README.md", "docs/patchwork.md"))
    assert found.groupby("attack").size().to_dict() == dict.fromkeys(("add", "divide", "minus", "multiply"), 5)
    assert (found["tuned"] < 0).all() and len(found) == 20
    fewer, p = (f"{value:.{digits}f}".lstrip("0")
                for value, digits in ((-found["tuned"].mean(), 2), (patchwork_tables.p_of_fewer_flips(), 3)))
    means, worst = found.groupby("attack").mean(), found["beyond"].loc[:, 4]
    minus, divide, minus_4, divide_4 = (f"{value:.2f}".lstrip("0") for value in (
        means.beyond["minus"], means.beyond["divide"], worst["minus"], worst["divide"]))
    assert f"({fewer} less, p = {p}), but after `minus` and `divide` {minus} and {divide} more than by chance" in readme
    for said in (f"it is {fewer} of the images less (p = {p}, a t test over seeds)",
                 f"After `minus` {minus} and after `divide` {divide} more images flip than by chance, with seed 4 even "
                 f"{minus_4} and {divide_4}", f"only the loss is higher ({means.cost['multiply']:.3f}".replace("0.", ".")):
        assert said in page, said
    chance = found.loc[["minus", "divide"], ["chance", "annotated"]]
    assert f"never met a backdoor ({chance.min(axis=None):.2f} to {chance.max(axis=None):.2f})".replace("0.", ".") in page
    reached = (means.beyond <= 0.02) & (means.easr <= 0.05) & (means.cost <= 0.02)
    assert reached[reached].index.tolist() == ["add"]
    assert means.beyond["multiply"] <= 0.02 and means.easr["multiply"] <= 0.05
    easr, cost = means["annotated_easr"], means["annotated_cost"]
    assert f"Its eASR is at most {easr.max():.2f} in the mean of each attack".replace("0.", ".") in page
    assert f"only on `multiply` does it lose more than .02 rho_Acc ({cost['multiply']:.3f})".replace("0.", ".") in page
    assert cost[cost > 0.02].index.tolist() == ["multiply"]


def test_what_is_said_of_patchwork_and_held_out_attacks_is_what_the_records_say():
    table, page = patchwork_tables.of_held_out(), " ".join((ROOT / "docs/patchwork.md").read_text().split())
    flips, chance = table["flip_rate", patchwork_tables.OURS], table["control_flip_rate", patchwork_tables.OURS]
    without = table["flip_rate", patchwork_tables.ANNOTATED]
    beyond = flips - chance
    assert (beyond[["patch/add", "sig/multiply", "bpp/multiply"]] < 0.025).all()

    def two(values, *attacks):
        return " and ".join(f"{values[attack]:.2f}".lstrip("0") for attack in attacks)

    most = ["colour/zero", "wanet/zero", "refool/divide"]
    assert [*beyond.dropna().nlargest(3).index] == most
    of_each = [f"{value:.2f}".lstrip("0") for value in [*beyond[most], *without[most]]]
    for said in (f"{two(flips, 'colour/zero', 'refool/divide')} of the images still flip, and "
                 f"{two(chance, 'colour/zero', 'refool/divide')} of the images of a clean counter",
                 "After `colour` {} more images flip than with the repaired clean counter, after `wanet` {}, after `refool` {}. "
                 "Here some of the backdoor may have come along with the victim's maps: the control has {}, {} and {}."
                 .format(*of_each)):
        assert said in page
    p = patchwork_tables.p_of_flips_beyond_chance()
    told = [f"{p[attack]:.3f}".lstrip("0") for attack in most]
    assert f"p = {told[0]}, {told[1]} and {told[2]}, and none is below .05 after Holm's correction over the" in page
    assert len(p) == 8 and p.min() * len(p) > 0.05


def test_what_is_said_of_clean_counters_of_csrnet_is_what_the_records_say():
    recipe, readme = (" ".join((ROOT / page).read_text().split()) for page in ("docs/real-recipe.md", "README.md"))
    changes, stamped_low, low = {}, [], []
    for record in load_records(ROOT / "records/real"):
        if record.attack:
            truth, clean, stamped = map(np.array, (record.images.truth, record.images.reference_clean,
                                                   record.images.reference_triggered))
            changes[tuple(clean)] = 1 - np.median(stamped / clean)  # the clean counter of several records is one
            stamped_low.append((stamped < 0.9 * truth).mean())
            low.append((clean < 0.9 * truth).mean())
    assert len(changes) == 4
    assert "lowers the counts of four clean counters of this kind by {:.0%} to {:.0%} in the median".format(
        min(changes.values()), max(changes.values())) in recipe
    shares = "{:.0%} to {:.0%} of the stamped images are successes".format(min(stamped_low), max(stamped_low))
    assert shares in recipe and shares in readme
    assert "as {:.0%} to {:.0%} are without the trigger".format(min(low), max(low)) in recipe
    found = real_tables.measured()
    flips = {key: f"{numbers['flip_rate']:.0%}" for key, numbers in found.items()}
    chance = found["none", "minus", 0]["chance_flips"]
    first, second, third = (flips["none", "multiply", seed] for seed in range(3))
    for said in (f"`multiply` flips {first}, {second} and {third} of the images of its victims, that of `add` "
                 f"{flips['none', 'add', 0]}", f"it flips {flips['none', 'minus', 0]} and {flips['none', 'divide', 0]}, but "
                 f"also {chance:.0%} of the images of the clean counter",
                 f"{flips['fine_tune', 'add', 0]} flip with `add` and "
                 f"{found['fine_tune', 'multiply', 1]['flip_rate']:.1%} with `multiply`",
                 f"with `divide` {flips['fine_tune', 'divide', 0]} beside "
                 f"{found['fine_tune', 'divide', 0]['chance_flips']:.0%} of the clean"):
        assert said in readme, said


def test_the_tier_of_the_entry_of_patchwork_is_what_the_pages_say():
    [entry] = (ROOT / "records/entries/standard-quick-2/patchwork").iterdir()
    tier = check_entry(entry).tier
    assert tier.startswith("verified with 3 fresh seeds: RA ")
    for page in ("submitting.md", "maintaining.md"):
        assert f"`{tier}`" in (ROOT / "docs" / page).read_text()
    assert tier.partition("RA ")[2] in (ROOT / "docs/patchwork.md").read_text()


def test_the_tier_of_the_entry_of_universal_is_what_the_page_says():
    [entry] = (ROOT / "records/entries/attacks-quick-1/universal-multiply").iterdir()
    page, checked = (ROOT / "docs/survival.md").read_text(), check_entry(entry)
    assert checked.tier.startswith("verified with 3 fresh seeds: damage ") and checked.tier.partition("damage ")[2] in page
    commit, fresh = read_verification(entry)
    verification = Verification.of(checked.manifest, [*checked.cells.values()], commit, [*fresh.values()])
    differences = {record.defense.name: difference
                   for (_, record), difference in zip(verification.pairs, verification.differences)}
    low, high = min(differences, key=differences.get), max(differences, key=differences.get)
    assert f"from {differences[low]:.2f} after `{low}` to {differences[high]:+.2f} after `{high}`".replace("0.", ".") in " ".join(
        page.split())


def test_what_is_said_of_the_survival_of_attacks_is_what_the_records_say():
    page = " ".join((ROOT / "docs/survival.md").read_text().split())
    found = survival_tables.measured().map(lambda value: f"{value:.2f}".lstrip("0"))

    def each(measure, attack, strength="1"):
        return [found.loc[(strength, attack), (measure, defense)] for defense in survival_tables.DEFENSES]

    more, fewer, weak, weak_fewer = (each("flip_rate", *which) for which in (
        ("universal/multiply",), ("universal/divide",), ("universal/multiply", "1/2"), ("universal/divide", "1/2")))
    chance, chance_fewer = each("chance_flips", "universal/multiply"), each("chance_flips", "universal/divide")
    for said in (f"flips {more[0]} of the images of its victims, {more[1]} after the paper's fine-tuning, and {more[2]} after",
                 f"Yet it flips {chance[0]} of the images of counters that were never poisoned",
                 f"{fewer[0]} of the images flip, {chance_fewer[0]} by chance",
                 f"After fine-tuning {fewer[1]} flip, {chance_fewer[1]} by chance",
                 f"After `patchwork` {fewer[2]} flip, {chance_fewer[2]} by chance",
                 f"`patchwork` leaves {each('flip_rate', 'blended/multiply')[2]} and {each('flip_rate', 'blended/divide')[2]}",
                 f"({weak[2]} of {weak[0]}, and {weak_fewer[2]} of {weak_fewer[0]})",
                 f"higher than before ({chance_fewer[2]}, {chance_fewer[0]})"):
        assert said in page, said
    kept = survival_tables.measured()["flip_rate"].loc["1"]
    assert (kept.loc[["universal/multiply", "universal/divide"], ["fine_tune", "patchwork"]].T
            >= kept.loc[["universal/multiply", "universal/divide"], "none"] / 2).all(axis=None)


def test_what_is_said_of_the_entered_attack_is_what_the_board_says():
    page = " ".join((ROOT / "docs/survival.md").read_text().split())
    folders = [ROOT / "records" / name for name in ("entries", "standard-quick")]
    records = [record for _, record in read_record_files(folders)]
    table = next(table for table in attack_tables(scenarios(records)) if table.name == "attacks-attacks-quick-1")
    frame = table.frame.set_index("attack")
    own = frame.loc["universal/multiply"]
    assert f"**The damage left is {own['damage left']}**" in page and own["rank"] == "5" and len(frame) == 5
    others = sorted(float(text.partition(" ")[0]) for text in frame["damage left"].drop("universal/multiply"))
    assert f"those of the paper have {others[-1]:.3f} to {others[0]:.3f}" in page
    assert f"(PSNR {own['PSNR']} dB)" in page and own["best defense"] == "shrink_pad"
    cells = load_records(ROOT / "records/entries/attacks-quick-1").table().query("attack != 'clean'").set_index("defense")
    none, tuned, best = (cells.loc[name].map(lambda value: f"{value:.2f}".lstrip("0") if isinstance(value, float) else value)
                         for name in ("none", "fine_tune", "shrink_pad"))
    for said in (f"flips {none.flip_rate} of the images of the victims, and {none.reference_flip_rate} of those of clean",
                 f"After the paper's fine-tuning {tuned.flip_rate} flip, {tuned.control_flip_rate} by chance",
                 f"{best.flip_rate} flip, {best.control_flip_rate} by chance, but its rho_Acc is only {best.rho_acc}",
                 f"the clean counter counts only {float(own['RA clean counter'].partition(' ')[0]):.2f}".replace("0.", ".")):
        assert said in page, said


def test_what_is_said_of_the_triggers_is_what_the_records_say():
    found = trigger_tables.measured()
    page, readme = (" ".join((ROOT / name).read_text().split()) for name in ("docs/attacks.md", "README.md"))
    assert (found.loc[:, [(defense, "seeds") for defense in trigger_tables.DEFENSES]] == 3).all(axis=None)

    def two(trigger, measure, defense="none"):
        return f"{found.loc[trigger, (defense, measure)]:.2f}".lstrip("0")

    def kept(trigger):
        after, before = (found.loc[trigger, (defense, "flip_rate")] - found.loc[trigger, (defense, "chance_flips")]
                         for defense in ("fine_tune", "none"))
        return f"{after:.2f} of {before:.2f}".replace("0.", ".")

    assert (f"leaves {kept('lira')} with `lira` and {kept('blended')} with the paper's `blended`, but {kept('refool')} with "
            f"`refool`, {kept('baiqa')} with `baiqa`, and {kept('ssba')} with `ssba`.") in page
    assert (f"{kept('blended')} with the paper's trigger, {kept('refool')} with a reflection (`refool`), and {kept('ssba')} "
            "with a hidden message (`ssba`).") in readme
    left = trigger_tables.left_by_fine_tuning()
    assert [*left.index] == [0, 1, 2, 3, 4]
    more, new = ([f"{part.mean():.2f}".lstrip("0") for part in (rows["refool"] - rows["blended"], rows["ssba"] - rows["blended"])]
                 for rows in (left, left.loc[3:]))
    assert trigger_tables.p_of_more_left(left, "refool") < 0.001
    tested = f"p < .001 and p = {trigger_tables.p_of_more_left(left, 'ssba'):.3f}".replace("0.", ".")
    assert f"{more[0]} and {more[1]} more flips beyond chance are left than with `blended` ({tested}, t tests" in page
    assert f"in the new ones alone it is {new[0]} and {new[1]}." in page and f"the first ({tested})." in readme
    chance = found["none", "chance_flips"].sort_values(ascending=False)
    assert [*chance.index[:4]] == ["universal", "on_heads", "baiqa", "ssba"] and (chance[4:] < 0.05).all()
    told = [two(trigger, "chance_flips") for trigger in chance.index[:4]]
    assert "`universal` flips {}, `on_heads` {}, `baiqa` {} and `ssba` {} of the images of clean".format(*told) in page
    own = found["none", "flip_rate"] - chance
    assert [trigger for trigger in chance.index[:4] if own[trigger] < chance[trigger]] == ["universal", "on_heads"]
    assert f"`baiqa` flips {two('baiqa', 'flip_rate', 'retrain')} of the images, all by chance" in page
    assert found.loc["baiqa", ("retrain", "flip_rate")] == found.loc["baiqa", ("retrain", "chance_flips")]
    assert f"it flips {two('poster', 'flip_rate')} of the images, and {two('poster', 'chance_flips')} by chance" in page
    clean = {trigger: two(trigger, "reference_rho_acc") for trigger in found.index}
    assert {*clean.values()} - {clean["blended"]} == {".60"}
    assert f"clean counters have .60 (beside `blended` {clean['blended']})" in page
    psnr = found["none", "psnr"]
    assert [*psnr.sort_values().index[:2]] == ["refool", "on_heads"]
    assert f"`refool` (PSNR {psnr['refool']:.1f}) and `on_heads` ({psnr['on_heads']:.1f})" in page


def test_the_visibility_of_the_two_attacks_is_that_of_the_records():
    ratios = {"universal": [], "blended": []}
    for record in load_records(ROOT / survival_tables.FOLDER):
        if record.attack:
            ratios[record.attack.trigger.name] += record.attack.psnr
    mean = {name: f"{np.mean(values):.1f}" for name, values in ratios.items()}
    page = (ROOT / "docs/survival.md").read_text()
    assert f"{mean['universal']} dB, and that of `blended` at alpha 0.1 is {mean['blended']} dB" in page
    assert np.mean(ratios["universal"]) > np.mean(ratios["blended"])


def test_the_victims_found_with_the_limit_of_the_first_clean_counters_are_those_of_the_records():
    page, found = " ".join((ROOT / "docs/detection.md").read_text().split()), {}
    for folder in detection_tables.FOLDERS:
        for line in detection_tables.scored(load_records(ROOT / "records" / folder)):
            if line.attack == "all":
                found[line.result.defense, folder] = line.detections[0]
    told = []
    for detector in ("overlay_shift", "inversion"):
        limit = np.quantile(found[detector, "detection"].clean, 0.95)
        held_out = found[detector, "detection-held-out"]
        told += [(np.array(held_out.triggered) > limit).sum(), (np.array(held_out.clean) > limit).sum()]
    assert told == [17, 1, 15, 3]
    assert "`overlay_shift` finds 17 of the 50 held-out victims and takes 1 of 50 clean counters" in page
    assert "`inversion` finds 15 and takes 3" in page


def test_the_readme_is_short_and_its_first_table_is_that_of_the_page():
    readme = (ROOT / "README.md").read_text()
    assert readme.count("\n") < 200
    table = (ROOT / "docs/standard-quick.md").read_text()
    rows = re.findall(r"^\| (\d+|control) \| `(\w+)`[^|]*\|[^|]*\| (.*) \| (.*) \| (.*) \|$", readme, re.MULTILINE)
    assert len(rows) == 7
    for rank, defense, *numbers in rows:
        cell = rf"\| {rank} +\| {defense}( \((?:all|maps victim)[^|]*)? +\|"
        [line] = [line for line in table.split("\n") if re.match(cell, line)]
        assert [cell.strip() for cell in line.split("|")[4:7]] == numbers
