"""Provenance of a result: the versions of code and packages, and the machine."""

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import torch

from benchmark.utils.device import device, state
from benchmark.utils.packages import OURS, ROOT
from benchmark.utils.switches import switches
from benchmark.version import __version__

PACKAGES = ("torch", "torchvision", "accelerate", "open-clip-torch", "numpy", "scipy", "pillow")


def provenance() -> dict[str, Any]:
    """The versions, the commit and the hardware of this process, as JSON values."""
    return {"crowdbench": __version__, **commit(), **machine()}


def machine() -> dict[str, Any]:
    """The hardware of this process, its libraries and how they are set, as JSON values.

    The number of processes and the switches are left out where there is one process, and where no
    switch was changed.
    """
    kind = device().type
    name = torch.cuda.get_device_name(device()) if kind == "cuda" else _processor()
    found = {"python": platform.python_version(),
             "packages": {package: importlib.metadata.version(package) for package in PACKAGES},
             "device": kind, "device_name": name,
             "system": f"{platform.system()} {platform.machine()}",
             "cores": os.cpu_count(), "threads": torch.get_num_threads()}
    unusual = {"processes": state().num_processes, "switches": switches()}
    return found | {key: value for key, value in unusual.items() if value not in (1, {})}


def commit() -> dict[str, Any]:
    """The git commit of the code, and whether the code was changed since.

    New records, plugins and results beside the code are no change of it. Both are None if the code
    is not in a git checkout.
    """
    try:
        revision = _git("rev-parse", "HEAD")
        changes = _git("status", "--porcelain", "--", *OURS)
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "dirty": None}
    return {"commit": revision, "dirty": bool(changes)}


def _git(*arguments: str) -> str:
    """The output of a git command, run in the folder of our packages."""
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True,
                          check=True)
    return done.stdout.strip()


def _processor() -> str:
    """The name of the processor; Linux has it in /proc/cpuinfo."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
