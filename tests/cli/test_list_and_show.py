"""`crowdbench list`, `show` and the help."""

import sys

import pytest

from benchmark.cli import main
from benchmark.cli.show import LISTS
from benchmark.config.axes import expand
from benchmark.config.frozen_grids import frozen
from benchmark.config.request import PRESETS, load_request, preset_names
from benchmark.registry import PACKAGES, find, names, settings_of

pytestmark = pytest.mark.usefixtures("desk")


@pytest.mark.parametrize("what", [*LISTS, "presets"])
def test_list_has_a_line_for_each_name(capsys, what):
    expected = preset_names() if what == "presets" else [name for kind in LISTS[what] for name in names(kind)]
    assert main(["list", what]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [name for name, line in zip(expected, lines, strict=True) if name not in line.split()] == []
    assert all(len(line.split()) > 3 for line in lines)


def test_list_alone_lists_everything_and_the_command_alone_is_its_help(capsys):
    assert main(["list"]) == 0
    everything = [(kind, name) for kind in PACKAGES for name in names(kind)]
    everything += [("preset", name) for name in preset_names()]
    assert [tuple(line.split()[:2]) for line in capsys.readouterr().out.splitlines()] == everything
    assert main([]) == 0
    alone = capsys.readouterr()
    assert main_help(capsys) == alone.out and "crowdbench show NAME" in alone.out and alone.err == ""


def main_help(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    return capsys.readouterr().out


@pytest.mark.parametrize("name", preset_names())
def test_show_tells_what_a_preset_is(capsys, name):
    assert main(["show", name]) == 0
    told = " ".join(capsys.readouterr().out.split())
    request = load_request(name)
    assert told.startswith(f"preset {name} ") and f" cells {len([*expand(request)])}" in told
    [protocol] = [grid.name for grid in frozen() if grid.preset == name] or ["not frozen"]
    assert f" frozen as {protocol}" in told
    assert (PRESETS / f"{name}.yaml").read_text().split("\n")[0].lstrip("# ") in told
    assert [key for key in request if f" {key}" not in told] == []


def test_show_tells_the_choices_of_an_axis_as_they_can_be_set(capsys):
    assert main(["show", "standard-quick"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    for line in ("standard-quick-2: with any defense, on the same images", "training.epochs 60", "seed 0, 1, 2",
                 "555, attack 5 x defense 37 x seed 3", "retrain images=40 extra=0 epochs=614, patchwork maps=annotated"):
        assert line in told
    assert main(["show", "ablation"]) == 0
    assert "none, target=multiply,minus poison_rate=0.02,0.05,0.1 alpha=0.05,0.1,0.2" in capsys.readouterr().out


@pytest.mark.parametrize("kind, name", [(kind, name) for kind in PACKAGES for name in names(kind)])
def test_show_tells_what_an_entry_is_and_its_settings(capsys, kind, name):
    assert main(["show", name]) == 0
    told = capsys.readouterr().out
    assert f"{kind} {name}" in told and sys.modules[find(kind, name).__module__].__doc__.strip() in told
    assert [key for key in settings_of(find(kind, name)).model_fields if f"\n{key} " not in told] == []


def test_show_tells_a_counters_recipe_as_it_can_be_set_and_types_without_their_checks(capsys):
    assert main(["show", "clip_ebc"]) == 0
    told = capsys.readouterr().out
    for line in ("window       int | None       None", "clip         'RN50' | 'tiny'  'RN50'",
                 "parameters  71,775,073 trained, 63,690,240 frozen",
                 "weights     openai by default: OpenAI CLIP, MIT"):
        assert line in told
    recipe = " ".join(told.rpartition("recipe ")[2].split()).split(", ")
    assert {"epochs=150", "lr=0.0004", "schedule=cosine", "crop=448", "zoom_max=2.0"} <= {*recipe}
