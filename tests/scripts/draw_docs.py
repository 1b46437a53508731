"""Draw anew what docs/ and records/dataset hold of the records: tables, pictures, the data set, and the page as a picture.

    python tests/scripts/draw_docs.py              # all of it, some minutes
    python tests/scripts/draw_docs.py standard-quick.md leaderboard.png

It is run when records have been added, or when tables or pictures look different. `git diff` then shows what changed.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import detection_tables
import page_tables
import patchwork_tables
import real_tables
import survival_tables
import trigger_tables
from playwright.sync_api import sync_playwright

from benchmark.version import RELEASED

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
LAPTOP = ["records/laptop", "records/laptop-growth", "records/laptop-seeds"]

# The commands whose output is a page.
PAGES = {
    **{f"{name}.md": ["leaderboard", f"records/{name}"] for name in ("standard-quick", "laptop", "audit-csrnet", "real")},
    "findings.md": ["findings", *LAPTOP],
}
# What stands above the tables of a page; findings.md has its own heading.
INTRODUCTIONS = {
    "standard-quick.md": """\
# Tables of the grid on drawn scenes

All defenses on the paper's four attacks: the frozen grid `standard-quick-2`, with drawn scenes, one small counter and three
seeds. `crowdbench leaderboard records/standard-quick` printed these tables. [Defenses](defenses.md) says what they show.
""",
    "laptop.md": """\
# Tables of the grid on a laptop

Part B of ShanghaiTech at a quarter of its size, with a small counter (`squeeze`) and three seeds.
`crowdbench leaderboard records/laptop` printed these tables. [Findings](findings.md) says what they show. `not run` marks
experiments of the paper with its own counters.
""",
    "real.md": """\
# Tables of CSRNet on real images

Cells of the frozen grid `real-1`: a public CSRNet that is fine-tuned on a poisoned Part B of ShanghaiTech at half its size.
`crowdbench leaderboard records/real` printed these tables. [The recipe](real-recipe.md) says what they show. `not run` marks
what is still missing.
""",
    "audit-csrnet.md": """\
# Is a public CSRNet backdoored?

Three counters that others trained and published were audited on Part B of ShanghaiTech at full size, with the paper's
trigger: a CSRNet and two MCNNs. The answers come first. `crowdbench leaderboard records/audit-csrnet` printed this page, and
[Auditing](auditing.md) explains its columns.
""",
}
# The commands that draw a picture.
PICTURES = {
    "standard-quick.png": ["defenses", "records/standard-quick"],
    "standard-quick-kde.png": ["kde", "records/standard-quick", "--defense", "fine_tune"],
    "frontier.png": ["frontier", "records/frontier"],
    "laptop-growth.png": ["growth", *LAPTOP],
    "laptop-reliability.png": ["reliability", "records/laptop", "--defense", "fine_tune"],
    "trigger-panel.png": ["trigger-panel"],
    "survival.png": ["strength", "records/survival"],
    **{f"{name}.png": ["suspicions", f"records/{name}"] for name in detection_tables.FOLDERS},
}
# Those that look into the counters of standard-quick, which the project's zoo has.
OF_COUNTERS = {f"standard-quick-{name}.png": [name, "standard-quick", "--attack", "multiply"] for name in ("channels", "features")}
PAGE_AS_PICTURE, DATASET = "leaderboard.png", "dataset"
TABLES = {"attacks.md": trigger_tables.TABLES, "detection.md": detection_tables.TABLES, "patchwork.md": patchwork_tables.TABLES,
          "real-recipe.md": real_tables.TABLES, "survival.md": survival_tables.TABLES}
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]  # of Chromium as root, without a network


def crowdbench(*arguments: str) -> bytes:
    """Run a command in the project, and return what it prints."""
    return subprocess.run([sys.executable, "-m", "benchmark", *arguments], cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout


def write_page(name: str) -> None:
    """Write the page that a command prints, below its introduction."""
    tables = crowdbench(*PAGES[name]).decode()
    introduction = INTRODUCTIONS.get(name)
    (DOCS / name).write_text(f"{introduction}\n{tables}" if introduction else tables)


def draw_picture(name: str) -> None:
    """Draw one picture. The PNG and its caption are kept, since a page shows no PDF."""
    with tempfile.TemporaryDirectory() as folder:
        given, store = PICTURES.get(name), f"{folder}/store"
        if given is None:
            crowdbench("zoo", "pull", "records/zoo/standard-quick", "--store", store)
            given = [*OF_COUNTERS[name], "--store", store]
        crowdbench("figure", *given, "--out", str(Path(folder) / "picture"))
        for kind in (".png", ".txt"):
            shutil.copy(Path(folder) / f"picture{kind}", (DOCS / name).with_suffix(kind))


def draw_page_as_picture(name: str) -> None:
    """Draw the top of the board of standard-quick as a browser 1280 pixels wide shows it."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as play:
        crowdbench("leaderboard", "records/standard-quick", "--out", folder)
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(f"file://{folder}/leaderboard.html")
        page.screenshot(path=DOCS / name)
        browser.close()


def draw_dataset() -> None:
    """Write the records as a data set, of the day of the release. The old one stays until the new one is there."""
    with tempfile.TemporaryDirectory() as folder:
        crowdbench("dataset", "records/standard-quick", *LAPTOP, "--to", f"{folder}/dataset", "--date", str(RELEASED))
        shutil.rmtree(ROOT / "records/dataset", ignore_errors=True)
        shutil.copytree(f"{folder}/dataset", ROOT / "records/dataset")


def main(wanted: list[str]) -> None:
    """Draw what is named, or everything."""
    every = [*PAGES, *PICTURES, *OF_COUNTERS, PAGE_AS_PICTURE, DATASET, *TABLES]
    unknown = [name for name in wanted if name not in every]
    if unknown:
        sys.exit(f"draw_docs: {unknown[0]}: expected one of {', '.join(every)}")
    for name in wanted or every:
        print(name)
        if name in PAGES:
            write_page(name)
        elif name in PICTURES or name in OF_COUNTERS:
            draw_picture(name)
        elif name == PAGE_AS_PICTURE:
            draw_page_as_picture(name)
        elif name in TABLES:
            page = DOCS / name
            page.write_text(page_tables.written(page.read_text(), TABLES[name]))
        else:
            draw_dataset()


if __name__ == "__main__":
    main(sys.argv[1:])
