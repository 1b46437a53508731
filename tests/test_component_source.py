"""Components read from their source are the components that are imported, and reading them imports no torch."""

import inspect
import subprocess
import sys

import pytest
from factories import ROOT

from benchmark import registry
from benchmark.component_source import class_attribute, component_source, setting_names
from benchmark.recipe import Recipe
from benchmark.utils.errors import UserError

COMPONENTS = [(kind, name) for kind in registry.PACKAGES for name in registry.names(kind)]


@pytest.mark.parametrize("kind, name", COMPONENTS)
def test_names_and_defaults_of_settings_are_those_of_the_class(kind, name):
    fields = registry.settings_of(registry.find(kind, name)).model_fields
    defaults = {key: None if field.is_required() else repr(field.default) for key, field in fields.items()}
    settings = component_source(kind, name).settings
    assert {key: setting.default for key, setting in settings.items()} == defaults
    assert list(settings) == list(defaults) == setting_names(kind, name)


@pytest.mark.parametrize("kind, name", COMPONENTS)
def test_docstrings_are_those_of_the_module_and_the_class(kind, name):
    cls, source = registry.find(kind, name), component_source(kind, name)
    assert source.module_doc == inspect.getdoc(sys.modules[cls.__module__])
    assert source.class_doc == (inspect.cleandoc(cls.__doc__) if cls.__doc__ else "")


@pytest.mark.parametrize("kind, name, types", [
    ("trigger", "blended", {"alpha": "float", "image": "Path | None"}),
    ("target", "minus", {"n": "int", "keep": "0 | 1"}),
    ("defense", "nad", {"images": "int", "lr": "float | None", "betas": "tuple[float, float, float]"}),
    ("model", "squeeze", {"weights": "str | Path", "width": "int"}),
    ("model", "clip_ebc", {"clip": "'RN50' | 'tiny'", "last_anchor": "float | None"})])
def test_types_are_shown_without_the_bounds_of_values(kind, name, types):
    settings = component_source(kind, name).settings
    assert {key: settings[key].type for key in types} == types


@pytest.mark.parametrize("name", registry.names("model"))
def test_class_attributes_of_a_model_are_its_own(name):
    cls = registry.find("model", name)
    for attribute in ("paper", "licence", "stride", "trained_parameters"):
        assert class_attribute("model", name, attribute) == getattr(cls, attribute)
    assert Recipe(**class_attribute("model", name, "recipe")) == cls.recipe


def test_an_unknown_component_is_named_with_the_nearest():
    with pytest.raises(UserError, match="unknown defense 'anpp': did you mean 'anp'"):
        setting_names("defense", "anpp")


@pytest.mark.parametrize("arguments, code", [
    ([], 0), (["list"], 0), (["show", "standard"], 0), (["list", "presets"], 0),
    (["list", "attacks"], 0), (["list", "models"], 0), (["show", "anp"], 0),
    (["show", "clip_ebc"], 0), (["show", "blended"], 0), (["show", "anpp"], 2), (["run", "quik"], 2),
    (["run", "quick", "--defense", "fine_tun"], 2), (["run", "quick", "--model", "tinny"], 2),
    (["run", "quick", "--set", "attack.alhpa=0.2"], 2), (["run", "quick", "--set", "model.widht=2"], 2),
    (["run", "quick", "--set", "training.epoch=2"], 2), (["run", "quick", "--set", "sede=2"], 2)])
def test_lists_descriptions_and_misspelt_names_need_no_torch(arguments, code):
    script = f"import sys; from benchmark.cli import main; assert main({arguments}) == {code}; assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
