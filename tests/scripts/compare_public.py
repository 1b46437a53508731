"""Side by side: our training steps and the public loops of CSRNet and CLIP-EBC, taking turns.

    python tests/scripts/compare_public.py --public FOLDER --size 1024x768 --crop 448 --batch 8

FOLDER holds clones of leeyeehoo/CSRNet-pytorch and Yiming-M/CLIP-EBC, each in a folder named
owner+name. Their own training functions run, at pinned commits, on the same image as ours: that
code comes from strangers, so run it where you would run any other program from them. All loops run
in one process, so that other work on the machine slows all of them alike. The script prints the
times of each round with their ratio, and the median ratio.

What is replaced: weights are random, so that nothing is downloaded; `cuda()` moves a tensor to the
device of this process; OpenCV's resize is torch's; batches are loaded in the process itself.
"""

import argparse
import glob
import os
import random
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import h5py
import numpy as np
import pandas as pd
import torch
from compare_speed import write_scene
from fidelity_networks import public_clip_ebc, public_dace
from fidelity_public import Clone, find_clone, print_nothing
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.transforms import functional as TF

from benchmark.data.scene import Scene
from benchmark.profiling.probes import Probe, TrainingProbe, now
from benchmark.profiling.speed import format_time, machine_name
from benchmark.registry import build, find
from benchmark.tables.formats import Table, markdown
from benchmark.utils.device import device, resolve_precision
from benchmark.utils.environment import provenance

LOOPS = {"csrnet": "leeyeehoo/CSRNet-pytorch", "clip_ebc": "Yiming-M/CLIP-EBC"}
BINS = [(count, count) for count in range(4)] + [(4, float("inf"))]
IMAGES_OF_AN_EPOCH = 4  # the public CSRNet reads every image four times in an epoch


@contextmanager
def on_this_device():
    """A context in which the public code's `cuda()` moves a tensor to the device of this process,
    and its warnings are not shown."""
    with patch.object(Tensor, "cuda", lambda tensor: tensor.to(device())), \
            warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def timed(epoch: Callable[[], Any], steps: int) -> Probe:
    """A probe of an epoch of the public code: the mean seconds of its steps. It is run once before,
    to warm up."""
    def probe() -> float:
        start = now()
        with on_this_device():
            epoch()
        return (now() - start) / steps

    probe()
    return probe


def public_csrnet_probe(clone: Clone, scene: Scene, path: Path) -> Probe:
    """A probe of a step of the public CSRNet's own `train`. path: the image of the scene."""
    write_density(scene, path)
    reading = clone.load("image.py", "load_data", Image=Image, h5py=h5py, random=random,
                         cv2=SimpleNamespace(resize=resized, INTER_CUBIC="bicubic"))
    data = clone.load("dataset.py", "listDataset", Dataset=Dataset, random=random,
                      load_data=reading.load_data)
    args = SimpleNamespace(batch_size=1, workers=0, lr=1e-12, print_freq=30)
    public = clone.load("train.py", "train", "AverageMeter", dataset=data, transforms=transforms,
                        args=args, time=time, Variable=lambda tensor: tensor, print=print_nothing)
    network = clone.load("model.py").CSRNet(load_weights=True).to(device())
    criterion = nn.MSELoss(reduction="sum")
    optimizer = torch.optim.SGD(network.parameters(), args.lr, momentum=0.95, weight_decay=5e-4)
    return timed(lambda: public.train([str(path)], network, criterion, optimizer, 0),
                 IMAGES_OF_AN_EPOCH)


def write_density(scene: Scene, path: Path) -> None:
    """Write a density map of full size where the public CSRNet looks for that of an image."""
    density = np.zeros(scene.size, np.float32)
    x, y = scene.points.astype(int).T
    density[y, x] = 1
    target = Path(str(path).replace(".jpg", ".h5").replace("images", "ground_truth"))
    target.parent.mkdir(exist_ok=True)
    with h5py.File(target, "w") as file:
        file["density"] = density


def resized(array: np.ndarray, size: tuple[float, float], interpolation: str) -> np.ndarray:
    """A map in another size (W, H), which the public code divides as Python 2 did."""
    width, height = (int(side) for side in size)
    tensor = torch.from_numpy(array)[None, None]
    return F.interpolate(tensor, (height, width), mode=interpolation)[0, 0].numpy()


def public_clip_ebc_probe(clone: Clone, scene: Scene, path: Path, crop: int, batch: int) -> Probe:
    """A probe of a step of the public CLIP-EBC's own `train`, with its augmentation."""
    public = clone.load("train.py", "train", tqdm=lambda batches: batches, barrier=print_nothing,
                        update_loss_info=lambda known, info: {"loss": [info["loss"]]})
    network = public_clip_ebc(clone).to(device())
    loss = public_dace(clone).DACELoss(BINS, 8, count_loss="dmcount", input_size=crop).to(device())
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=1e-12, weight_decay=1e-4)
    batches = public_batches(clone, scene, path, crop, batch)
    return timed(lambda: public.train(network, batches, loss, optimizer, None, device(), 0, 1), 1)


def public_batches(clone: Clone, scene: Scene, path: Path, crop: int, batch: int) -> Iterable[Any]:
    """The public CLIP-EBC's batches: one in an epoch, of crops of one image."""
    helpers = clone.load("datasets/utils.py", "get_id", "generate_density_map", "collate_fn")
    crowd = clone.load(
        "datasets/crowd.py", "Crowd", "available_datasets", "standardize_dataset_name",
        Dataset=Dataset, ToTensor=transforms.ToTensor, Normalize=transforms.Normalize, os=os,
        glob=glob.glob, Image=Image, get_id=helpers.get_id,
        generate_density_map=helpers.generate_density_map)
    looks = clone.load("datasets/transforms.py", TF=TF, _ColorJitter=transforms.ColorJitter)
    root = path.parents[1]
    (root / "labels").mkdir(exist_ok=True)
    np.save(root / "labels" / f"{path.stem}.npy", scene.points)

    class OneImage(crowd.Crowd):
        """The dataset of a folder that holds one image."""

        def __find_root__(self) -> None:
            self.root = root.parent

        def __check_sanity__(self) -> None:
            self.image_names, self.label_names = self.image_names * batch, self.label_names * batch

    some = looks.RandomApply([looks.ColorJitter(0.1, 0.1, 0.1, 0.0),
                              looks.GaussianBlur(5, sigma=(0.1, 5.0)), looks.PepperSaltNoise()],
                             p=(0.2, 0.2, 0.5))
    steps = [looks.RandomResizedCrop((crop, crop), (1.0, 2.0)), looks.RandomHorizontalFlip(), some]

    def augment(image: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        for step in steps:
            image, label = step(image, label)
        return image, label

    dataset = OneImage("shb", "train", augment)
    return DataLoader(dataset, batch_size=batch, shuffle=True, collate_fn=helpers.collate_fn)


def our_probe(name: str, scene: Scene, precision: str, **changes: int) -> Probe:
    """A probe of our training step of a counter from scratch. changes: of its recipe."""
    settings = {"last_anchor": 4.4} if name == "clip_ebc" else {}
    counter = build("model", name, {"weights": "scratch"} | settings)
    recipe = find("model", name).recipe.model_copy(update=changes)
    return TrainingProbe(counter, recipe, scene, precision)


def rounds_of(name: str, ours: Probe, public: Probe, rounds: int) -> list[list[str]]:
    """The rows of one loop: the times of each round, and the median ratio."""
    rows, ratios = [], []
    for number in range(1, rounds + 1):
        seconds, theirs = ours(), public()
        ratios.append(theirs / seconds)
        rows.append([name, str(number), format_time(seconds), format_time(theirs),
                     f"{ratios[-1]:.2f}"])
    return [*rows, [name, "median", "", "", f"{statistics.median(ratios):.2f}"]]


def compare(options: argparse.Namespace, scene: Scene, path: Path) -> list[list[str]]:
    """The rows of the table, by loop. Loops whose clone is missing are left out, with a line."""
    precision, rows = resolve_precision(options.precision), []
    for name in options.loop.split(","):
        clone = find_clone(options.public, LOOPS[name])
        if problem := clone.problem():
            print(f"missing: https://github.com/{clone.repository} ({problem})", file=sys.stderr)
        elif name == "csrnet":
            rows += rounds_of(f"csrnet, {options.size}", our_probe(name, scene, precision),
                              public_csrnet_probe(clone, scene, path), options.rounds)
        else:
            crop, batch = options.crop, options.batch
            ours = our_probe(name, scene, precision, crop=crop, batch_size=batch)
            public = public_clip_ebc_probe(clone, scene, path, crop, batch)
            rows += rounds_of(f"clip_ebc, {batch} x {crop}", ours, public, options.rounds)
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table. Returns 2 where there is no clone to compare with."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--public", type=Path, required=True, metavar="FOLDER", help="of clones")
    parser.add_argument("--loop", default=",".join(LOOPS), metavar="NAME,...", help="loops")
    parser.add_argument("--size", default="1024x768", metavar="WxH", help="size of the image")
    parser.add_argument("--crop", type=int, default=448, help="of CLIP-EBC, in pixels")
    parser.add_argument("--batch", type=int, default=8, help="images in a step of CLIP-EBC")
    parser.add_argument("--precision", default="auto", help="of ours; public loops are fp32")
    parser.add_argument("--rounds", type=int, default=3, help="number of rounds")
    options = parser.parse_args(arguments)
    width, height = map(int, options.size.split("x"))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "train" / "images" / "1.jpg"
        path.parent.mkdir(parents=True)
        rows = compare(options, write_scene((height, width), path), path)
    if not rows:
        return 2
    columns = ["loop", "round", "our step takes", "the public step takes", "ratio"]
    title = (f"Training steps in {resolve_precision(options.precision)} beside the public loops in "
             f"fp32 on {machine_name(provenance())}")
    print(markdown(Table("public", title, pd.DataFrame(rows, columns=columns),
                         ["ratio: the time of the public loop divided by ours, in one round."])))
    return 0


if __name__ == "__main__":
    sys.exit(main())
