"""The public code of others: which commits, how it is read, and the registry of comparisons.

Public code is never committed and no line of it is copied. A comparison reads the files of a pinned
commit out of a clone and runs the definitions that it names, in a namespace of their own.
"""

import __future__

import ast
import math
import os
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

Pairs = Iterable[tuple[Tensor, Tensor]]  # a result of ours and the same of the original

COMMITS = {
    "leeyeehoo/CSRNet-pytorch": "ed29d895989c188cb913a9503721271c6cf1ab1f",
    "weizheliu/Context-Aware-Crowd-Counting": "d2e4d0425f578e556c1ab6017d326cff20466fad",
    "cvlab-stonybrook/DM-Count": "cc5f2132e0d1328909f31b6d665b8e0b15c30467",
    "ZhihengCV/Bayesian-Crowd-Counting": "5f10bfc50ff3cb6e424e17fa970600d55094dd9f",
    "pxq0312/SFANet-crowd-counting": "38f46c31902e8ac09487d9573f38882a92eecb3a",
    "CommissarMa/MCNN-pytorch": "00a4a5c9f1a460c335c1e2f6c57b0b42de1d9a78",
    "Yiming-M/CLIP-EBC": "b52a5944bd75beed34fd3d0da516aa833ae63354",
    "Yiming-M/EBC-ZIP": "bada31da1bace9c6b32453b5a95395e8210c5a0b",
    "TencentYoutuResearch/CrowdCounting-P2PNet": "5c91a81ca062b1c7fd3db3ad1c55b1c21f0a7455",
    "SCLBD/BackdoorBench": "f02e3534645f0ee63d6848653062cd6c0d6c400d",
    "THUYimingLi/BackdoorBox": "af3afd1c0b172cbf4b0f8c030a9afa0fecc13fc1",
    "RU-System-Software-and-Security/BppAttack": "f6b6580d53b2f2bca8e92cfe83aae7d68332ff4c",
    "yuyi-sd/BAIQA": "91ddd60b54be2c11cf42d189f84aa955693892b9",
    "csdongxian/ANP_backdoor": "ec7b1790e831287a5686a61d2eba02f385289cb7",
    "rkteddy/channel-Lipschitzness-based-pruning": "5209c837abfe1c40b0ce3d2971f9f83c172955fd",
    "bboylyg/NAD": "f17b71390f61fe24335728bfea53e4fe86ee450b",
    "bboylyg/ABL": "3fd736ce0906f24b0672b471ae20016362eefde4",
    "bboylyg/RNP": "eeae192e5eab974d8b3002964cfb62d00388d36f",
    "wanlunsec/Beatrix": "685827e3aa3c8090ab31b32bff898a877a9cd11d",
    "vtu81/backdoor-toolbox": "9d4d909f25df481dba12b8e8c20c0812b6b1910b",
    "Ping-C/CertifiedObjectDetection": "b16b20bef68ba9c1a27918039fd75f82a03a5eb4",
}
OLD_NUMPY = SimpleNamespace(**vars(np) | {"float": float, "round_": np.round})  # before version 2


@dataclass(frozen=True)
class Comparison:
    """One row of the page.

    entry: the kind and the name of a component, for instance 'model `csrnet`'.
    repository: owner/name of the public code; None if the original is an equation of a paper.
    original: the equation, if there is no public code that can be run.
    what: what was compared, in words.
    run: from the clone, or from nothing, to pairs of tensors.
    """

    entry: str
    repository: str | None
    original: str
    what: str
    run: Callable[..., Pairs]


COMPARISONS: list[Comparison] = []


def compare(kind: str, name: str, what: str, repository: str | None = None,
            original: str = "") -> Callable[[Callable[..., Pairs]], Callable[..., Pairs]]:
    """A decorator that registers a function as a comparison. See `Comparison`."""
    def register(run: Callable[..., Pairs]) -> Callable[..., Pairs]:
        COMPARISONS.append(Comparison(f"{kind} `{name}`", repository, original, what, run))
        return run
    return register


@dataclass(frozen=True)
class Clone:
    """A clone of a public repository, from which files of the pinned commit are read."""

    repository: str
    folder: Path

    def git(self, *arguments: str) -> str | None:
        """What git prints for the clone; None if it fails. A repository around it is not used."""
        ceiling = {"GIT_CEILING_DIRECTORIES": str(self.folder.resolve().parent)}
        done = subprocess.run(["git", "-C", str(self.folder), *arguments], capture_output=True,
                              text=True, env=os.environ | ceiling)
        return done.stdout if done.returncode == 0 else None

    def problem(self) -> str:
        """What is wrong with the clone, in words; empty if its commit is the pinned one."""
        pinned = COMMITS[self.repository]
        found = self.git("rev-parse", "HEAD") if self.folder.is_dir() else None
        if found is None:
            return "there is no clone"
        return "" if found.strip() == pinned else f"the clone is at commit {found.strip()}"

    def load(self, path: str, *names: str, **given: Any) -> SimpleNamespace:
        """Run the named definitions of a file; without names, all its functions and classes.

        Names may be functions, classes or constants. given: what they use beside torch, numpy and
        each other; it takes the place of the file's imports.
        """
        source = self.git("show", f"{COMMITS[self.repository]}:{path}")
        if source is None:
            raise FileNotFoundError(f"{self.repository}: expected a file {path} in the commit")
        tree = ast.parse(source, path)
        tree.body = [node for node in tree.body if _is_wanted(node, names)]
        space = {"torch": torch, "nn": nn, "F": F, "np": np, "math": math, "__name__": path}
        flags = __future__.annotations.compiler_flag  # so that no annotation is evaluated
        exec(compile(tree, path, "exec", flags), space := space | given)
        if missing := [name for name in names if name not in space]:
            raise NameError(f"{self.repository}: expected a definition of {missing[0]} in {path}")
        return SimpleNamespace(**space)


def _is_wanted(node: ast.stmt, names: tuple[str, ...]) -> bool:
    """Whether a statement defines one of the names; without names, whether it defines anything."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return not names or node.name in names
    targets = node.targets if isinstance(node, ast.Assign) else []
    return any(isinstance(target, ast.Name) and target.id in names for target in targets)


def find_clone(public: Path, repository: str) -> Clone:
    """The clone of a repository in a folder: in owner+name, owner/name or name."""
    owner, name = repository.split("/")
    candidates = [public / f"{owner}+{name}", public / owner / name, public / name]
    folder = next((folder for folder in candidates if folder.is_dir()), candidates[0])
    return Clone(repository, folder)


def without_decorator(*_: Any, **__: Any) -> Callable[[Any], Any]:
    """A stand-in for a decorator with arguments that only concerns speed or a GPU."""
    return lambda function: function


def print_nothing(*_: Any) -> None:
    """A stand-in for `print` and for loggers."""
