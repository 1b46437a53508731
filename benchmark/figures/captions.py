"""Sentences of captions: of how many seeds and images a figure is, and from which records."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmark.results.result import Result
from benchmark.tables.footnotes import common_settings

FLIP_RATE = "the flip rate is the share of images that the trigger moves into success"
RHO_ACC = "rho_Acc is the share of clean images that are counted to within 10% of the truth"
BARS = "95% intervals by bootstrap over seeds and images"


def sample(results: Sequence[Result]) -> str:
    """The seeds, the numbers of test images, and `settings`. results: all drawn, at least one."""
    records = [record for result in results for record in result.records]
    numbers = sorted({len(result.records) for result in results})
    images = sorted({len(record.images.truth) for record in records})
    seeds = {record.seed for record in records}
    each = "" if numbers == [len(seeds)] else f", {listed(numbers, 'or')} of them for each number"
    alone = " One seed says nothing about other trainings." if len(seeds) == 1 else ""
    return (f"{seed_list(seeds)}{each}; {listed(images, 'or')} test images.{alone} "
            f"{settings(results)}")


def seed_list(seeds: Iterable[int]) -> str:
    """'2 seeds (0 and 1)'. seeds: at least one."""
    ordered = sorted(set(seeds))
    return f"{len(ordered)} {'seed' if len(ordered) == 1 else 'seeds'} ({listed(ordered)})"


def settings(results: Sequence[Result]) -> str:
    """The models, the settings that all results share, and the warnings of their records."""
    records = [record for result in results for record in result.records]
    sentences = [f"Model: {listed(sorted({record.model.name for record in records}))}."]
    common = common_settings([result.settings for result in results])
    sentences += [text.replace("All rows have the settings", "Shared settings:") for text in common]
    warnings = sorted({warning for record in records for warning in record.warnings})
    if warnings:
        sentences.append(f"Warnings of the records: {'; '.join(warnings)}.")
    return " ".join(sentences)


def source(paths: Sequence[Path], number: int) -> str:
    """From which files or folders a figure is. number: of the records that were read."""
    return f"Drawn from the {number} records in {listed(paths)}."


def listed(items: Sequence[object], word: str = "and") -> str:
    """Items in a sentence: '1, 2 and 3'. items: at least one."""
    *others, last = map(str, items)
    return f"{', '.join(others)} {word} {last}" if others else last
