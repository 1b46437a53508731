"""Sentences of captions: of how many seeds and images a figure is, and from which records."""

from collections.abc import Sequence
from pathlib import Path

from benchmark.results.result import Result
from benchmark.tables.footnotes import common_settings

FLIP_RATE = "the flip rate is the share of images that the trigger moves into success"
RHO_ACC = "rho_Acc is the share of clean images that are counted to within 10% of the truth"
BARS = "95% intervals by bootstrap over seeds and images"


def sample(results: Sequence[Result]) -> str:
    """The model, the seeds, the numbers of test images, the shared settings, and the warnings.

    results: all that are drawn, at least one.
    """
    records = [record for result in results for record in result.records]
    models = sorted({record.model.name for record in records})
    seeds = sorted({record.seed for record in records})
    numbers = sorted({len(result.records) for result in results})
    images = sorted({len(record.images.truth) for record in records})
    each = "" if numbers == [len(seeds)] else f", {_listed(numbers, 'or')} of them for each number"
    sentences = [f"Model: {', '.join(models)}.",
                 f"{len(seeds)} {'seed' if len(seeds) == 1 else 'seeds'} "
                 f"({_listed(seeds, 'and')}){each}; {_listed(images, 'or')} test images."]
    common = common_settings([result.settings for result in results])
    sentences += [text.replace("All rows have the settings", "Shared settings:") for text in common]
    warnings = sorted({warning for record in records for warning in record.warnings})
    if warnings:
        sentences.append(f"Warnings of the records: {'; '.join(warnings)}.")
    return " ".join(sentences)


def source(paths: Sequence[Path], number: int) -> str:
    """Where the records of a figure lie. number: of records that were read."""
    return f"Drawn from {number} records in {_listed(list(map(str, paths)), 'and')}."


def _listed(items: Sequence[object], word: str) -> str:
    *others, last = map(str, items)
    return f"{', '.join(others)} {word} {last}" if others else last
