"""The Python API: grids, runs, tables of records, stored counters, evaluation of any counter.

docs/python.md has an example of each function. Paths may be text. What takes torch is imported
inside the functions.

Every function raises `benchmark.utils.errors.UserError` where a request is wrong: an unknown
name, a value that does not fit, a file that is missing or broken. The message is one line that
says what was expected.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from benchmark import registry
from benchmark.config.cell import POISONING, Cell, Component, ExperimentSettings, display_names
from benchmark.config.grid import cells, trigger_and_target
from benchmark.config.request import change, load_request, preset_names
from benchmark.recipe import Recipe
from benchmark.registry import load_plugin, register
from benchmark.utils.errors import UserError
from benchmark.utils.human import number
from benchmark.utils.plugin_imports import import_beside

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from attacks.base import Attack
    from benchmark.data.datasets.base import Dataset
    from benchmark.results.record import Record
    from defenses.base import Defense
    from models.base import Counter

__all__ = ["Evaluation", "Grid", "Recipe", "Results", "attack", "build", "check_defense", "dataset",
           "defense", "evaluate", "import_beside", "list_components", "list_presets",
           "load_counter", "load_grid", "load_plugin", "load_records", "model", "read_image",
           "register", "run"]

StrPath = str | Path
STORE = "runs/store"


# Components.

def list_components(kind: str) -> list[str]:
    """The names of the registered components of a kind.

    kind: 'trigger', 'target', 'defense', 'model' or 'dataset'.

    >>> list_components("target")[:3]
    ['add', 'clean_fewer', 'clean_more']
    """
    if kind not in registry.PACKAGES:
        raise UserError(f"kind {kind!r}: expected one of {', '.join(registry.PACKAGES)}")
    return registry.names(kind)


def list_presets() -> list[str]:
    """The names of the presets that `load_grid` takes."""
    return preset_names()


def build(kind: str, name: str, **settings: Any) -> Any:
    """A component with settings, which are checked."""
    return registry.build(kind, name, settings)


def dataset(name: str, **settings: Any) -> "Dataset":
    """A dataset, for instance `dataset("shanghaitech", part="B", root="data")`."""
    return build("dataset", name, **settings)


def model(name: str, **settings: Any) -> "Counter":
    """An untrained counter, or one in a file: `model("csrnet", weights="csrnet.safetensors")`."""
    return build("model", name, **settings)


def defense(name: str, **settings: Any) -> "Defense":
    """A defense, for instance `defense("fine_tune", epochs=5)`."""
    return build("defense", name, **settings)


def attack(target: str, trigger: str = "blended", **settings: Any) -> "Attack":
    """An attack: a target and a trigger.

    settings: those of the target and of the trigger, and `poison_rate`, `choose`, `latent` and
        `cover_rate`.

    >>> attack("multiply", alpha=0.2, k=3).target.tau(10)
    30
    """
    from attacks.base import Attack

    chosen_trigger, chosen_target, in_test = trigger_and_target(
        {"target": target, "trigger": trigger} | settings, "attack")
    if in_test:
        raise UserError("attack: settings that begin with test_ belong to a grid; "
                        "expected settings without test_")
    poisoning = {key: value for key, value in settings.items() if key in POISONING}
    checked = registry.checked(ExperimentSettings, poisoning, "attack")
    return Attack(chosen_trigger.build(), chosen_target.build(),
                  *(getattr(checked, setting) for setting in POISONING))


# Grids and runs.

@dataclass(frozen=True)
class Grid(Sequence[Cell]):
    """The checked cells of a request."""

    cells: list[Cell]

    def __getitem__(self, index: Any) -> Any:
        return Grid(self.cells[index]) if isinstance(index, slice) else self.cells[index]

    def __len__(self) -> int:
        return len(self.cells)

    def __repr__(self) -> str:
        names = [f"  {name}" for name in display_names(self.cells)]
        return "\n".join([f"Grid of {number(len(self), 'cell')}:", *names])


def load_grid(source: StrPath | Mapping[str, Any],
              changes: Mapping[str, Any] | None = None) -> Grid:
    """The grid of a preset, of a YAML file, or of settings in a mapping, whose keys may have dots.

    changes: settings to change, as `--set` does on the command line:
        `{"attack.alpha": [0.05, 0.1], "seed": 1}`. A list is an axis of the grid.
    """
    mappings = [source, changes or {}] if isinstance(source, Mapping) else [changes or {}]
    request = {} if isinstance(source, Mapping) else load_request(str(source))
    for mapping in mappings:
        for key, value in mapping.items():
            request = change(request, key, value)
    return Grid(cells(request))


@dataclass(frozen=True)
class Results(Sequence["Record"]):
    """Records, as tables. failures: one line for each cell that failed."""

    records: list["Record"]
    failures: list[str] = field(default_factory=list)

    def __getitem__(self, index: Any) -> Any:
        return Results(self.records[index]) if isinstance(index, slice) else self.records[index]

    def __len__(self) -> int:
        return len(self.records)

    def __repr__(self) -> str:
        failed = f", {number(len(self.failures), 'failed cell')}" if self.failures else ""
        return f"Results of {number(len(self), 'record')}{failed}"

    def table(self) -> "pd.DataFrame":
        """A row for each model, attack and defense with its numbers, means over the seeds.

        A number that does not exist is nan. Intervals are two columns, `NAME_low` and `NAME_high`.
        """
        import pandas as pd

        from benchmark.results.scenarios import scenarios
        from benchmark.tables.controls import control_numbers

        table = pd.DataFrame(control_numbers(scenarios(self.records)))
        # Without the controls that were not run.
        return table[table["images"].notna()].reset_index(drop=True)

    def counts(self) -> "pd.DataFrame":
        """A row for each record and test image: the true count and what was counted, in people."""
        import pandas as pd

        frames = []
        for record in self.records:
            columns = record.images.model_dump(exclude_none=True)
            target = record.attack.target.name if record.attack else "none"
            settings = {"model": record.model.name, "attack": target,
                        "defense": record.defense.name, "seed": record.seed}
            frames.append(pd.DataFrame(settings | columns))
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()

    def text(self) -> str:
        """The tables that `crowdbench leaderboard` prints, as Markdown."""
        from benchmark.leaderboard.report import board

        return board(self.records).text()


def run(grid: Sequence[Cell], out: StrPath, store: StrPath = STORE,
        retry_failed: bool = False) -> Results:
    """Run a grid as `crowdbench run` does, and write its records to `out`.

    store: finished stages are taken from it. retry_failed: also try again what failed before.
    """
    from benchmark.pipeline import runner
    from benchmark.pipeline.graph import StageGraph
    from benchmark.pipeline.store import Store

    outcome = runner.run(list(grid), StageGraph(Store(Path(store))), Path(out), retry=retry_failed)
    return Results(outcome.records, outcome.failures)


def load_records(*paths: StrPath) -> Results:
    """The records in files and folders, also somebody else's.

    They are checked, and nothing in them is executed. A broken record is skipped, and an entry of
    the leaderboard with an error is left out; a line on stderr names it and the reason.
    """
    from benchmark.leaderboard.load import read_record_files

    return Results([record for _, record in read_record_files([Path(path) for path in paths])])


# Counters.

def load_counter(store: StrPath, record: "Record",
                 which: Literal["repaired", "victim", "clean"] = "repaired") -> "Counter":
    """A counter of a record's cell from the store of its run, in evaluation mode.

    which: the counter after the defense (the victim itself where nothing repairs it), the victim,
        or the clean counter.
    """
    from benchmark.pipeline.counter_files import read_counter
    from benchmark.pipeline.store import damage

    stages = record.provenance.get("stages", {})
    if which not in stages:
        raise UserError(f"record: it has no counter {which!r}; expected one of {', '.join(stages)}")
    folder = Path(store) / "counters" / stages[which]["key"]
    if not folder.is_dir():
        raise UserError(f"{folder}: the counter is not in this store; expected the store of the "
                        "record's run")
    problem = damage(folder)
    if problem:
        raise UserError(problem)
    without_files = {key: value for key, value in record.model.given.items() if key != "weights"}
    return read_counter(folder, Component("model", record.model.name, without_files),
                        Component("defense", record.defense.name, record.defense.given))


def read_image(path: StrPath, scale: float = 1.0) -> "Tensor":
    """An image file as a batch, float32 [1, 3, H, W] in 0..1, as counters and triggers take it."""
    import torch

    from benchmark.data.loading import read_image as read_pixels

    return torch.from_numpy(read_pixels(Path(path), scale)).permute(2, 0, 1)[None] / 255


@dataclass(frozen=True)
class Evaluation:
    """The counts of test images.

    columns: ids, true counts, counts of clean images and, with an attack, the attacker's counts
        and the counts of triggered images; one value for each image. increases: the direction
        of the attack.
    """

    columns: dict[str, list[Any]]
    increases: bool | None = None

    def counts(self) -> "pd.DataFrame":
        """A row for each image."""
        import pandas as pd

        return pd.DataFrame(self.columns)

    def summary(self) -> dict[str, float]:
        """The metrics of the counts by name; see `benchmark.metrics.counting.summary`."""
        from benchmark.metrics.counting import summary

        columns = {key: column for key, column in self.columns.items() if key != "id"}
        return summary(**columns, increases=self.increases)


def evaluate(counter: "Counter", data: "Dataset", attack: "Attack | None" = None,
             scale: float = 1.0, precision: str = "auto", batch_size: int = 8) -> Evaluation:
    """Count the test images of a dataset, clean and, with an attack, triggered.

    scale: the factor by which images are resized. precision: 'auto', 'fp32', 'bf16' or, on
        a GPU, 'fp16'.

    Raises:
        UserError: the attack's trigger is optimised on a counter, and has no pattern yet.
    """
    from benchmark.training.evaluation import TestSplit
    from benchmark.utils.device import resolve_precision

    if attack is not None and attack.trigger.lacks_pattern:
        raise UserError(f"evaluate: trigger {attack.trigger.name} has no pattern, because it is "
                        "optimised on a counter first; expected one from trigger.with_pattern()")

    test, resolved = TestSplit(data, scale), resolve_precision(precision)
    columns: dict[str, list[Any]] = {"id": test.ids(), "truth": test.counts()}
    columns["clean"] = test.count(counter, resolved, None, batch_size,
                                  "count clean test images").tolist()
    if attack is None:
        return Evaluation(columns)
    columns["target"] = test.targets(attack.target)
    columns["triggered"] = test.count(counter, resolved, attack.stamp, batch_size,
                                      "count triggered test images").tolist()
    return Evaluation(columns, attack.target.increases)


def check_defense(name: str, settings: dict[str, Any] | None = None,
                  model: str = "tiny") -> "Counter":
    """Check on a small victim that a defense keeps the contract; see `benchmark.testing`."""
    from benchmark.testing import check_defense as check

    return check(name, settings, model)
