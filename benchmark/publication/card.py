"""Dataset card: the README.md of a dataset, by whose first lines `datasets` finds the tables.

The form is that of Hugging Face's dataset cards,
https://huggingface.co/docs/hub/datasets-manual-configuration.
"""

from collections.abc import Sequence

import yaml

from benchmark.publication.citation import NAME, bibtex
from benchmark.publication.croissant import DESCRIPTION
from benchmark.publication.data_table import DataTable
from benchmark.utils.human import size

SPLIT = "test"  # all counts are of test images
TEXT = """\
---
{header}---

# Records of {name}

{description}

{files}

```python
import pandas as pd

counts = pd.read_parquet("records.parquet")   # a row for each record and test image
cells = pd.read_parquet("cells.parquet")      # a row for each record
both = counts.merge(cells, on="record", suffixes=("", "_of_cell"))
```

`croissant.json` describes every column. Missing values are those that do not exist, such as the
count of an image with a trigger where there is no attack. All numbers of `cells` are computed from
the counts by the benchmark.

```bibtex
{citation}
```
"""


def card(tables: Sequence[DataTable], sizes: Sequence[int], records: int, licence: str) -> str:
    """The text of the card. sizes: of the tables' files, in bytes. records: their number."""
    configs = [{"config_name": table.name, "default": place == 0,
                "data_files": [{"split": SPLIT, "path": table.file}]}
               for place, table in enumerate(tables)]
    header = {"license": licence.lower(), "pretty_name": f"{NAME} records",
              "tags": ["crowd-counting", "backdoor-attacks", "benchmark"], "configs": configs}
    files = [f"- `{table.file}` ({size(number)}): {table.description}"
             for table, number in zip(tables, sizes)]
    return TEXT.format(
        header=yaml.safe_dump(header, sort_keys=False), name=NAME, description=DESCRIPTION,
        files="\n".join([f"It holds {records} records.", "", *files]), citation=bibtex())
