"""Croissant: a description of a dataset's files and columns that search engines and tools read.

It follows Croissant 1.1 (https://docs.mlcommons.org/croissant/docs/croissant-spec-1.1.html), with
the JSON-LD context of its reference library mlcroissant.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from benchmark.publication.citation import AUTHORS, LICENCE, NAME, bibtex
from benchmark.publication.data_table import Column, DataTable
from benchmark.version import __version__

SPECIFICATION = "http://mlcommons.org/croissant/1.1"
PARQUET = "application/x-parquet"  # the name that mlcroissant knows
TYPES = {"text": "sc:Text", "integer": "cr:Int64", "number": "cr:Float64", "truth": "sc:Boolean"}
DESCRIPTION = (
    "Records of backdoor attacks and defenses on deep crowd counters. Counters are poisoned, "
    "repaired and measured; the table records holds what each of them counts on each test image, "
    "with and without the trigger, and the table cells holds the settings and measures of each "
    "record. The images are not part of the dataset.")
KEYWORDS = ("crowd counting", "backdoor attacks", "backdoor defenses", "data poisoning",
            "benchmark", "computer vision")
_TERMS = ("annotation", "arrayShape", "citeAs", "column", "containedIn", "equivalentProperty",
          "excludes", "extract", "field", "fileProperty", "fileObject", "fileSet", "format",
          "includes", "isArray", "isLiveDataset", "jsonPath", "key", "md5", "parentField", "path",
          "readLines", "recordSet", "references", "regex", "repeated", "replace", "samplingRate",
          "sdVersion", "separator", "source", "subField", "transform", "unArchive", "value")
CONTEXT: dict[str, Any] = {
    "@language": "en", "@vocab": "https://schema.org/", "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/", "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/", "conformsTo": "dct:conformsTo",
    **{term: f"cr:{term}" for term in _TERMS},
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "description": {"@container": "@language"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "name": {"@container": "@language"}}


@dataclass(frozen=True)
class Publication:
    """The facts about a dataset that its publisher states.

    date: of the publication, YYYY-MM-DD. url: of the web page with the dataset; None leaves it out,
    although Croissant wants one. creator: who made the records. licence: of the records, as SPDX
    names it.
    """

    date: str
    url: str | None = None
    creator: str = AUTHORS
    licence: str = LICENCE


def describe(tables: Sequence[DataTable], folder: Path, publication: Publication) -> str:
    """The description of the tables' files in a folder, as JSON-LD text."""
    description = {
        "@context": CONTEXT, "@type": "sc:Dataset", "conformsTo": SPECIFICATION,
        "name": f"{NAME} records", "description": DESCRIPTION,
        "license": f"https://spdx.org/licenses/{publication.licence}.html",
        "creator": {"@type": "sc:Organization", "name": publication.creator},
        "datePublished": publication.date, "version": __version__, "keywords": list(KEYWORDS),
        "citeAs": bibtex(),
        "distribution": [_file(table, folder / table.file) for table in tables],
        "recordSet": [_record_set(table) for table in tables]}
    if publication.url:
        description["url"] = publication.url
    return json.dumps(description, indent=1, ensure_ascii=False) + "\n"


def _file(table: DataTable, path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    return {"@type": "cr:FileObject", "@id": table.file, "name": table.file,
            "description": table.description, "contentUrl": table.file,
            "contentSize": f"{len(content)} B", "encodingFormat": PARQUET,
            "sha256": hashlib.sha256(content).hexdigest()}


def _record_set(table: DataTable) -> dict[str, Any]:
    keys = [{"@id": _id(table.name, column)} for column in table.key]
    return {"@type": "cr:RecordSet", "@id": table.name, "name": table.name,
            "description": table.description, "key": keys[0] if len(keys) == 1 else keys,
            "field": [_field(table, column) for column in table.columns]}


def _field(table: DataTable, column: Column) -> dict[str, Any]:
    field = {"@type": "cr:Field", "@id": _id(table.name, column.name), "name": column.name,
             "description": column.description, "dataType": TYPES[column.kind],
             "source": {"fileObject": {"@id": table.file}, "extract": {"column": column.name}}}
    if column.name in table.references:
        # The specification also has {"@id": ...} alone, which mlcroissant does not read.
        field["references"] = {"field": {"@id": _id(*table.references[column.name])}}
    return field


def _id(table: str, column: str) -> str:
    """The identifier of a column, an IRI: what is no letter, digit or -._~ is escaped."""
    return f"{table}/{quote(column, safe='')}"
