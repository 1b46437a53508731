"""Which module may import which, and what no module does: the source itself is read."""

import ast

import pytest
from factories import ROOT

OURS = ("attacks", "benchmark", "defenses", "models")
SOURCES = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): ast.parse(path.read_text())
           for package in OURS for path in sorted((ROOT / package).rglob("*.py"))}
FLOORS = [  # a room imports only from the floors below its own
    {"benchmark"},  # the package itself, which gives access to the Python API
    {"benchmark.__main__"},
    {"benchmark.cli"},
    {"benchmark.api"},
    {"benchmark.export", "benchmark.figures", "benchmark.publication", "benchmark.testing",
     "benchmark.zoo"},
    {"benchmark.pipeline", "benchmark.leaderboard"},
    {"benchmark.profiling", "benchmark.paper"},
    {"benchmark.tables"},
    {"benchmark.results"},
    {"benchmark.config"},
    {"defenses"},
    {"benchmark.training"},
    {"attacks", "models"},
    {"benchmark.data"},
    {"benchmark.weights", "benchmark.recipe", "benchmark.strengths"},
    {"benchmark.component_source"},
    {"benchmark.registry"},
    {"benchmark.utils", "benchmark.metrics"},
    {"benchmark.version"},
]
FOR_ENTRIES = ("data", "metrics", "recipe", "registry", "strengths", "training", "utils", "weights")


def imported(module):
    """Dotted names of all that a module imports, at its top or inside a function; `from a import b` is a.b."""
    for node in ast.walk(SOURCES[module]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def ours(module):
    """What a module imports from this project."""
    return [name for name in imported(module) if name.partition(".")[0] in OURS]


def within(name, *packages):
    return any(f"{name}.".startswith(f"{package}.") for package in packages)


def modules(*packages):
    return [module for module in SOURCES if within(module, *packages)]


def calls(module):
    """The calls in a module, each with the dotted name of what is called."""
    return [(ast.unparse(node.func), node) for node in ast.walk(SOURCES[module]) if isinstance(node, ast.Call)]


def test_all_packages_were_read():
    assert {module.partition(".")[0] for module in SOURCES} == set(OURS)
    assert "benchmark.registry.register" in ours("attacks.triggers.blended")


def room(module):
    """The package that a module of the project belongs to; a file directly in `benchmark/` is a room of its own."""
    top, _, rest = module.partition(".")
    inner = f"benchmark.{rest.partition('.')[0]}"
    return inner if top == "benchmark" and inner in SOURCES else top


def floor(name):
    """The floor of a room, counted from the top."""
    [number] = [number for number, rooms in enumerate(FLOORS) if room(name) in rooms]
    return number


@pytest.mark.parametrize("module", SOURCES)
def test_a_module_imports_only_from_its_own_room_and_from_the_floors_below(module):
    wrong = [name for name in ours(module) if room(name) != room(module) and floor(name) <= floor(module)]
    assert wrong == []


def test_modules_of_one_room_import_each_other_in_no_circle():
    def reachable(module, seen):
        for name in ours(module):
            target = next((known for known in (name, name.rpartition(".")[0]) if known in SOURCES), None)
            if target and target not in seen and room(target) == room(module):
                seen.add(target)
                reachable(target, seen)
        return seen

    assert [module for module in SOURCES if module in reachable(module, set())] == []


@pytest.mark.parametrize("package, neighbours", [
    ("attacks", ["attacks"]), ("models", ["models"]), ("defenses", ["defenses", "models.base"])])
def test_entries_import_their_own_kind_and_the_engine_below_them(package, neighbours):
    allowed = [*neighbours, *(f"benchmark.{name}" for name in FOR_ENTRIES)]
    wrong = {module: name for module in modules(package) for name in ours(module) if not within(name, *allowed)}
    assert wrong == {}


@pytest.mark.parametrize("package", ["attacks.triggers", "attacks.targets", "models", "defenses"])
def test_the_engine_knows_no_entry_by_name(package):
    entries = [module for module in modules(package) if not module.endswith(".base") and module != package
               and not within(module, f"{package}.parts")]  # what entries share has no name in the registry
    wrong = {module: name for module in modules("benchmark") for name in ours(module) if within(name, *entries)}
    assert entries and wrong == {}


def test_only_evaluation_loads_the_test_split():
    users = {module for module, tree in SOURCES.items() for node in ast.walk(tree)
             if "load_test" in (getattr(node, "id", None), getattr(node, "attr", None), getattr(node, "name", None))}
    assert users == {"benchmark.data.splits", "benchmark.training.evaluation"}  # where it is defined and where it is used


def test_only_the_package_as_a_command_imports_the_command_line():
    assert {module for module in SOURCES if not within(module, "benchmark.cli")
            for name in ours(module) if within(name, "benchmark.cli")} == {
        "benchmark.__main__"}


@pytest.mark.parametrize("module", SOURCES)
def test_nothing_is_unpickled_evaluated_or_fetched_from_torch_hub(module):
    names = {name for name, _ in calls(module)} | set(imported(module))
    banned = {"eval", "exec", "pickle.load", "pickle.loads", "pickle.Unpickler", "yaml.load", "yaml.unsafe_load",
              "yaml.full_load", "marshal.loads", "joblib.load", "os.system"}
    assert not names & banned
    assert not [name for name in names if within(name, "torch.hub")]
    for name, call in calls(module):
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        assert name != "torch.load" or given.get("weights_only") == "True"
        assert given.get("allow_pickle", "False") == given.get("shell", "False") == "False"


@pytest.mark.parametrize("module", SOURCES)
def test_no_error_is_passed_over_in_silence(module):
    handlers = [node for node in ast.walk(SOURCES[module]) if isinstance(node, ast.ExceptHandler)]
    assert not [node.lineno for node in handlers if node.type is None or isinstance(node.body[0], ast.Pass)]
