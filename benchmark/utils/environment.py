"""Where a result comes from: the code, the packages and the machine."""

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import torch

from benchmark import __version__
from benchmark.utils.device import device

PACKAGES = ("torch", "torchvision", "accelerate", "open-clip-torch", "numpy", "scipy", "pillow")


def provenance() -> dict[str, Any]:
    """Versions, commit and hardware, ready for JSON."""
    where = device()
    name = torch.cuda.get_device_name(where) if where.type == "cuda" else _processor()
    return {"crowdbench": __version__, **commit(), "python": platform.python_version(),
            "packages": {package: importlib.metadata.version(package) for package in PACKAGES},
            "device": where.type, "device_name": name, "system": f"{platform.system()} {platform.machine()}",
            "cores": os.cpu_count(), "threads": torch.get_num_threads()}


def commit() -> dict[str, Any]:
    """The commit of the code and whether it was changed since; None where the code is not in a git checkout."""
    here = Path(__file__).parent
    try:
        revision = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=True)
        changed = subprocess.run(["git", "status", "--porcelain"], cwd=here, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "dirty": None}
    return {"commit": revision.stdout.strip(), "dirty": bool(changed.stdout.strip())}


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
