"""Records as Parquet files, with their description."""

import hashlib
import json
import math
import re

import numpy as np
import pytest
import yaml
from factories import ROOT, make_record

from benchmark.cli import main
from benchmark.metrics import counting, detection
from benchmark.publication.cells import MOST_SETTINGS
from benchmark.publication.measures import MEASURES
from benchmark.results.record import Choice, Detection, Record
from benchmark.results.scenarios import scenarios, settings_of
from benchmark.tables.controls import result_numbers

pd = pytest.importorskip("pandas")
FOLDERS = ("standard-quick", "laptop", "laptop-growth", "laptop-seeds")
FILES = ["README.md", "cells.parquet", "croissant.json", "records.parquet"]
SHIPPED = ROOT / "records/dataset"


def with_controls(record):
    images = record.images.model_dump()
    images |= {"control_clean": images["reference_clean"], "control_triggered": images["reference_triggered"]}
    return Record.model_validate(record.model_dump() | {"images": images})


def some_records():
    scored = np.linspace(0, 1, 40).tolist()
    detector = Detection(of="test images", clean=scored, triggered=scored[::-1], drift=scored, reference_clean=scored,
                         reference_triggered=scored)
    return [make_record(None), *(make_record(seed=seed) for seed in (0, 1)),
            with_controls(make_record(defense="mine", effect=0.1, epochs=5, bounds=[1, 2], layers=None)),
            make_record("minus", defense="strip", detection=detector), make_record("stay", effect=0.5)]


def write(records, folder):
    folder.mkdir()
    for place, record in enumerate(records):
        (folder / f"record-{place}.json").write_text(record.dumps())
    return folder


@pytest.fixture
def records(tmp_path):
    return write(some_records(), tmp_path / "records")


def dataset(*arguments):
    return main(["dataset", *map(str, arguments), "--date", "2026-11-29"])


@pytest.fixture
def made(records, tmp_path):
    assert dataset(records, "--to", tmp_path / "out") == 0
    return tmp_path / "out"


def digests(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


# What is in the tables.

def test_the_counts_are_those_of_the_records(records, made):
    counts = pd.read_parquet(made / "records.parquet").set_index("record")
    for path in records.iterdir():
        record = Record.read(path)
        rows = counts.loc[hashlib.sha256(path.read_bytes()).hexdigest()]
        images = record.images
        columns = {"image": images.id, "truth": images.truth, "attacker_count": images.target, "clean": images.clean,
                   "triggered": images.triggered, "reference_clean": images.reference_clean,
                   "reference_triggered": images.reference_triggered, "control_clean": images.control_clean,
                   "control_triggered": images.control_triggered}
        for name, column in columns.items():
            assert rows[name].isna().all() if column is None else rows[name].tolist() == column
        first = rows.iloc[0]
        assert (first.model, first.defense, first.seed) == (record.model.name, record.defense.name, record.seed)
        assert json.loads(first.defense_settings) == record.defense.given | record.defense.resolved
        assert first.images_sha256 == images.checksum
        if record.attack:
            assert (first.target, first.poison_rate) == (record.attack.target.name, record.attack.poison_rate)
            assert json.loads(first.trigger_settings) == {"alpha": 0.1}
        else:
            assert rows[["trigger", "target", "trigger_settings", "poison_rate"]].isna().all(axis=None)


def test_the_measures_are_those_of_the_project(records, made):
    cells = pd.read_parquet(made / "cells.parquet").set_index("record")
    read = {hashlib.sha256(path.read_bytes()).hexdigest(): Record.read(path) for path in records.iterdir()}
    assert {*cells.index} == {*read}
    compared = 0
    for scenario in scenarios(read.values()):
        for result in scenario.results:
            for record in result.records:
                expected = result_numbers(scenario, result.of([record.seed]))
                for row in [cells.loc[digest] for digest, other in read.items() if other is record]:
                    compared += 1
                    for name in expected.keys() - {"seeds"}:
                        assert row[name] == expected[name] or math.isnan(row[name]) and math.isnan(expected[name])
    assert compared == len(read)
    attacked = next(record for record in read.values() if record.attack and record.defense.name == "none")
    row = cells.loc[next(digest for digest, record in read.items() if record is attacked)]
    assert row.rho_acc == counting.rho_acc(attacked.images.clean, attacked.images.truth)
    strip = cells[cells.defense == "strip"].iloc[0]
    scores = next(record for record in read.values() if record.detection).detection
    assert strip.auroc == detection.auroc(scores.clean, scores.triggered)


def test_every_measure_that_the_tables_compute_has_a_column():
    [attacked, mine] = make_record(), with_controls(make_record(defense="mine"))
    [scenario] = [scenario for scenario in scenarios([attacked, mine]) if scenario.attack != "clean"]
    computed = {key for result in scenario.results for key in result_numbers(scenario, result)}
    assert computed - {"seeds"} <= {*MEASURES}


def test_settings_are_columns_with_their_types(records, made):
    cells = pd.read_parquet(made / "cells.parquet", dtype_backend="numpy_nullable")
    names = set().union(*(settings_of(Record.read(path)) for path in records.iterdir()))
    assert names <= {*cells.columns}
    mine = cells[cells.defense == "mine"].iloc[0]
    assert mine["defense.epochs"] == 5 and mine["defense.bounds"] == "[1, 2]" and mine["defense.layers"] is pd.NA
    assert cells["trigger.alpha"].dtype == "Float64" and cells["audit"].dtype == "boolean"
    assert cells["defense.epochs"].dtype == "Int64" and cells["data.part"].unique().tolist() == ["B"]


@pytest.mark.parametrize("values, kept", [
    ([1, 2.5], [1.0, 2.5]), ([1, True], ["1", "true"]), ([1, "auto"], ["1", "auto"]), ([True, False], [True, False]),
    ([[1], None], ["[1]", None]), ([2**62, 3], [2**62, 3]), (["é=1", "2"], ["é=1", "2"])])
def test_settings_of_several_types_are_told_apart(values, kept, tmp_path):
    records = [make_record(seed=seed, defense="mine", width=value) for seed, value in enumerate(values)]
    assert dataset(write(records, tmp_path / "records"), "--to", tmp_path / "out") == 0
    column = pd.read_parquet(tmp_path / "out/cells.parquet", dtype_backend="numpy_nullable").sort_values("seed")
    assert [None if value is pd.NA else value for value in column["defense.width"]] == kept


def test_strange_provenance_is_text(tmp_path):
    record = make_record().model_copy(update={"provenance": {"crowdbench": {"a": [1]}, "threads": True,
                                                             "stages": {"victim": {"weights_sha256": ["x"]}}}})
    assert dataset(write([record], tmp_path / "records"), "--to", tmp_path / "out") == 0
    [row] = pd.read_parquet(tmp_path / "out/cells.parquet").to_dict("records")
    assert (row["crowdbench"], row["threads"]) == ('{"a": [1]}', "true")
    assert row["victim_weights_sha256"] == '["x"]'


# The files.

def test_the_same_records_give_the_same_bytes_in_any_order_and_under_any_name(records, made, tmp_path):
    renamed = tmp_path / "renamed"
    write(some_records()[::-1], renamed)
    assert dataset(*sorted(renamed.iterdir()), "--to", tmp_path / "again") == 0
    first, again = digests(made), digests(tmp_path / "again")
    assert [*first] == FILES and first["records.parquet"] == again["records.parquet"]
    assert dataset(records, "--to", tmp_path / "once more") == 0
    assert digests(tmp_path / "once more") == first


def test_the_description_fits_the_files(made):
    check_description(made)
    described = json.loads((made / "croissant.json").read_text())
    assert described["datePublished"] == "2026-11-29" and "url" not in described
    assert described["creator"]["name"] == "the CrowdBackdoorBench contributors"


def check_description(folder):
    """The rules of Croissant that can be checked without its library."""
    import pyarrow.parquet as pq

    described = json.loads((folder / "croissant.json").read_text())
    assert described["conformsTo"] == "http://mlcommons.org/croissant/1.1" and described["@type"] == "sc:Dataset"
    for key in ("@context", "name", "description", "license", "creator", "datePublished", "citeAs"):
        assert described[key]
    files = {file["@id"]: file for file in described["distribution"]}
    assert {*files} == {"records.parquet", "cells.parquet"}
    for name, file in files.items():
        content = (folder / name).read_bytes()
        assert file["contentUrl"] == name and file["contentSize"] == f"{len(content)} B"
        assert file["sha256"] == hashlib.sha256(content).hexdigest()
    types = {"string": "sc:Text", "int64": "cr:Int64", "double": "cr:Float64", "bool": "sc:Boolean"}
    known = set()
    for table in described["recordSet"]:
        schema = pq.read_schema(folder / f"{table['name']}.parquet")
        fields = {field["source"]["extract"]["column"]: field for field in table["field"]}
        assert [*fields] == schema.names
        for name, field in fields.items():
            assert field["dataType"] == types[str(schema.field(name).type)]
            assert field["description"].endswith(".") and re.fullmatch(r"[\w./%~-]+", field["@id"])
            assert field["source"]["fileObject"]["@id"] in files
        known |= {field["@id"] for field in table["field"]}
        keys = table["key"] if isinstance(table["key"], list) else [table["key"]]
        columns = [key["@id"].partition("/")[2] for key in keys]
        assert not pd.read_parquet(folder / f"{table['name']}.parquet")[columns].duplicated().any()
    assert len(known) == sum(len(table["field"]) for table in described["recordSet"])
    references = [field["references"]["field"]["@id"] for table in described["recordSet"] for field in table["field"]
                  if "references" in field]
    assert references == ["cells/record"] and {*references} <= known


def test_the_card_names_the_tables_so_that_datasets_finds_them(made):
    _, header, text = (made / "README.md").read_text().split("---\n", 2)
    configs = yaml.safe_load(header)["configs"]
    assert [(config["config_name"], config["data_files"]) for config in configs] == [
        ("records", [{"split": "test", "path": "records.parquet"}]),
        ("cells", [{"split": "test", "path": "cells.parquet"}])]
    assert configs[0]["default"] and "6 records" in text and "@software" in text


def test_the_publisher_says_where_and_who(records, tmp_path, capsys):
    assert dataset(records, "--to", tmp_path / "out", "--url", "https://example.org/data", "--creator", "A group",
                   "--licence", "CC-BY-4.0") == 0
    described = json.loads((tmp_path / "out/croissant.json").read_text())
    assert described["url"] == "https://example.org/data" and described["creator"]["name"] == "A group"
    assert described["license"] == "https://spdx.org/licenses/CC-BY-4.0.html"
    assert "license: cc-by-4.0\n" in (tmp_path / "out/README.md").read_text()
    assert "url" not in capsys.readouterr().err


# Wrong requests.

@pytest.mark.parametrize("flags, line", [
    (["--date", "soon"], "--date: expected a date, YYYY-MM-DD"),
    (["--date", "2026-02-30"], "--date: expected a date, YYYY-MM-DD"),
    (["--url", "file:///etc"], "--url: expected the address of a web page"),
    (["--licence", "as you like"], "--licence: expected the name of a licence"),
    (["--url", "example.org"], "--url: expected the address of a web page"),
    (["--creator", "a\nb"], "--creator: expected 1 to 300 printable characters"),
    (["--creator", ""], "--creator: '' is empty; expected a value")])
def test_a_wrong_flag_is_told_in_one_line(records, tmp_path, capsys, flags, line):
    assert main(["dataset", str(records), "--to", str(tmp_path / "out"), *flags]) == 2
    error = capsys.readouterr().err
    assert line in error and error.count("\n") == 1 and not (tmp_path / "out").exists()


@pytest.mark.parametrize("occupied", ["file", "full folder", "broken link"])
def test_nothing_is_overwritten(records, tmp_path, capsys, occupied):
    out = tmp_path / "out"
    if occupied == "file":
        out.write_text("mine")
    elif occupied == "broken link":
        out.symlink_to(tmp_path / "nowhere")
    else:
        out.mkdir()
        (out / "README.md").write_text("mine")
    assert dataset(records, "--to", out) == 2
    error = capsys.readouterr().err
    assert f"--to {out}: expected a new or empty folder" in error and error.count("\n") == 1
    assert occupied == "broken link" or (out if occupied == "file" else out / "README.md").read_text() == "mine"


@pytest.mark.parametrize("content", ["", "{", '{"seed": 1}'])
def test_broken_records_alone_are_refused_and_nothing_is_left(tmp_path, capsys, content):
    (tmp_path / "record.json").write_text(content)
    assert dataset(tmp_path / "record.json", "--to", tmp_path / "out") == 2
    assert "no record is left" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["record.json"]


def test_too_many_settings_are_refused(tmp_path, capsys):
    settings = {f"s{number}": number for number in range(MOST_SETTINGS)}
    record = make_record().model_copy(update={"defense": Choice(name="mine", resolved=settings)})
    assert dataset(write([record], tmp_path / "records"), "--to", tmp_path / "out") == 2
    assert f"expected at most {MOST_SETTINGS}" in capsys.readouterr().err and not (tmp_path / "out").exists()


# The dataset that is shipped.

def test_the_shipped_dataset_is_described_and_has_all_records():
    check_description(SHIPPED)
    paths = [path for name in FOLDERS for path in (ROOT / "records" / name).iterdir()]
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) < 3e6
    cells = pd.read_parquet(SHIPPED / "cells.parquet")
    assert dict(zip(cells.record, cells.file)) == {
        hashlib.sha256(path.read_bytes()).hexdigest(): path.name for path in paths}


@pytest.mark.slow
def test_the_shipped_dataset_is_what_the_records_give(tmp_path):
    folders = [ROOT / "records" / name for name in FOLDERS]
    assert dataset(*folders, "--to", tmp_path / "out") == 0
    for name in ("records.parquet", "cells.parquet"):
        # The last digits of a bootstrap may differ between machines.
        pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "out" / name), pd.read_parquet(SHIPPED / name),
                                      rtol=1e-9)
    made, shipped = (json.loads((folder / "croissant.json").read_text()) for folder in (tmp_path / "out", SHIPPED))
    assert made["recordSet"] == shipped["recordSet"] and made["version"] == shipped["version"]
