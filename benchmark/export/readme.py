"""The README of an export: what each file is, the attack, the victim and its input, and hashes."""

import json
import textwrap
from typing import Any

from attacks.base import COVER
from benchmark.config.cell import Cell
from benchmark.export.content import Content
from benchmark.export.victim import SAFETENSORS, TORCH, conversion
from benchmark.results.describe import describe_attack, describe_component
from benchmark.utils.environment import commit
from benchmark.utils.hashing import by_content
from benchmark.version import __version__
from benchmark.weights.published import licence_of
from models.base import Counter

WIDTH = 100
README = """\
Backdoored crowd counter and its images: {title}

Exported by crowdbench {version}, for programs that do not know crowdbench. The images are PNG
files, so that no pixel of a trigger is changed. They have the size at which the victim was trained
and tested: {size}. Points are (x, y) in pixels of these images.

FILES

{files}

THE ATTACK

{attack}

THE VICTIM

{victim}

HASHES

{hashes}

LICENCE

The images belong to the authors of the dataset ({data}). They come with its terms, which this
folder does not change: pass it on only where these allow it. Initial weights of the victim:
{licence}.
The images with a trigger and the counter with a backdoor are for research on defenses.
"""


def described(content: Content) -> dict[str, Any]:
    """The settings and hashes of an export, as JSON values."""
    cell, data = content.cell, content.cell.data.build()
    attack = describe_attack(cell, content.info)
    training = {"given": cell.training, "scale": cell.settings.scale,
                "hold_out": cell.settings.hold_out}
    splits = {split: content.graph.data.fingerprint(data, split) for split in ("train", "test")}
    return {"crowdbench": __version__, **commit(), "seed": cell.settings.seed,
            "data": describe_component(cell.data).model_dump(),
            "model": describe_component(cell.model).model_dump(),
            "attack": attack.model_dump() if attack else None, "training": training,
            "victim": {"key": content.victim_stage.key,
                       "weights_sha256": content.info["weights_sha256"]},
            "splits": splits, "part": part_of(cell)}


def readme(content: Content, counter: Counter, part: str) -> str:
    """The text of README.txt. part: the folder of the part in ShanghaiTech's form."""
    cell, info = content.cell, described(content)
    hashes = {f"{SAFETENSORS} (sha256, as in records)": info["victim"]["weights_sha256"],
              "stage of the victim in the store": info["victim"]["key"],
              "training split": info["splits"]["train"], "test split": info["splits"]["test"]}
    scaled = "" if cell.settings.scale == 1 else f", scaled by {cell.settings.scale}"
    return README.format(
        title=content.victim_stage.title.partition(" ")[2], version=__version__,
        size=f"that of the dataset{scaled}",
        files=_files(content, part), attack=_attack(content), victim=_victim(counter, cell),
        hashes=_lines(hashes), data=cell.data.name,
        licence=licence_of(cell.model.name, by_content(cell.model.changed.get("weights")))
        or f"not known; they are from {content.info['weights']}")


def _files(content: Content, part: str) -> str:
    covers = sum(copy.id.removesuffix("-2").endswith(COVER) for copy in content.copies)
    copies, originals = len(content.copies) - covers, len(content.originals)
    also = (f"; and cover copies ({covers}) with their true points, whose names end in {COVER}"
            if covers else "")
    held_out = len(content.graph.data.train_of(content.cell)[1])
    test = len(content.test)
    files = {
        f"shanghaitech/{part}/train_data": f"the poisoned training set: {originals} clean images, "
            f"and poisoned copies ({copies}), whose names end in +poison{also}. The images that "
            f"were held out for validation ({held_out}) are not in it",
        f"shanghaitech/{part}/test_data": f"the clean test images ({test})",
        f"shanghaitech-triggered/{part}/test_data": "the same images with the trigger, and with "
            "their true points",
        "folder, folder-triggered": "the same images with their points in one points.json for each "
            "split; the images are hard links to those above where the file system has them",
        SAFETENSORS: "the victim's weights, under the names of crowdbench",
        TORCH: "the same as a state dict of torch",
        "counts.csv": "for each test image the true count, the attacker's, and what the victim "
            "counts without and with the trigger (empty where the store does not hold it)",
        "export.json": "the settings and hashes of this export, for programs"}
    sigmas = {scene.sigma for scene in content.originals}
    [sigma] = sigmas if len(sigmas) == 1 else [None]  # several: images of several scales
    width = "null" if sigma is None else sigma
    return "\n".join([_lines(files), "", _paragraph(
        "In ShanghaiTech's form the points of images/NAME.png are in ground-truth/GT_NAME.mat, at "
        "image_info[0,0][0,0]['location']. Public code that looks for .jpg must look for .png."),
        "", "crowdbench reads the two forms with",
        f"  --set data.name=shanghaitech --set data.root=shanghaitech --set data.part={part[5]} "
        f"--set data.sigma={width}",
        f"  --set data.name=folder --set data.root=folder --set data.sigma={width}"])


def _attack(content: Content) -> str:
    """The settings of each attack, and what must be known of a trigger that sees the heads."""
    cell, parts = content.cell, []
    for number, attacked in enumerate(cell.attacks, start=1):
        which = "The attack on the test images" if attacked is cell else "Another attack"
        ids = f"their ids end in +poison{'' if number == 1 else f'-{number}'}"
        settings = {"trigger": attacked.trigger, "target": attacked.target}
        lines = {kind: f"{component.name} {_settings(component.resolved)}".strip()
                 for kind, component in settings.items()}
        lines["poisoned copies"] = f"poison rate {attacked.settings.poison_rate}; {ids}"
        if attacked.settings.cover_rate:
            lines["cover copies"] = (f"cover rate {attacked.settings.cover_rate}: copies with the "
                                     "trigger that keep their true points")
        if attacked.settings.latent:
            lines["latent"] = (f"{attacked.settings.latent}: the victim was also trained with a "
                               "loss term that hides the trigger, which no image shows")
        if attacked is cell and cell.test_trigger:
            lines["on test images"] = f"{cell.trigger.name} {_settings(cell.test_trigger.resolved)}"
        parts.append(f"{which}:\n{_lines(lines)}")
    attack = content.tested
    if attack.trigger.sees_heads:
        parts.append(_paragraph("The trigger is drawn by the annotated heads, also on test "
                                "images."))
    if attack.trigger.is_conditional:
        carriers = sum(map(attack.is_carried_by, content.test))
        parts.append(_paragraph(f"{carriers} of {len(content.test)} test images carry the trigger; "
                                "the others are as without it."))
    return "\n\n".join(parts)


def _victim(counter: Counter, cell: Cell) -> str:
    """The victim's public code, its input, and its way of counting."""
    if counter.public_code:
        names = (f"{TORCH} has the tensor names of https://github.com/{counter.public_code}. "
                 f"{counter.public_note}")
    else:
        names = f"{TORCH} has the tensor names of crowdbench, as there is no public code of it."
    lines = {"network": f"{counter.name}: {counter.paper}",
             "input": f"RGB values of 0 to 1, minus {list(counter.mean)}, divided by "
                      f"{list(counter.std)}; sides padded with 0 on the right and at the bottom to "
                      f"multiples of {counter.multiple} pixels",
             "count": f"the sum of the density map, one value for {counter.stride} x "
                      f"{counter.stride} pixels"}
    if settings := counter.public_settings():
        lines["not in the file"] = _settings(settings)
    text = f"{_paragraph(names)}\n{_lines(lines)}"
    command = conversion(counter, cell.model)
    return f"{text}\n\ncrowdbench reads it again after\n  {command}" if command else text


def _settings(settings: dict[str, Any]) -> str:
    """Settings in one line, without those that are not set."""
    shown = {key: value for key, value in settings.items() if value is not None}
    return ", ".join(f"{key} {json.dumps(value, default=str)}" for key, value in shown.items())


def _lines(rows: dict[str, str]) -> str:
    """Names, with what they are in the lines below each."""
    indent = "    "
    return "\n".join(f"{name}\n" + textwrap.fill(text, WIDTH, initial_indent=indent,
                                                 subsequent_indent=indent, break_long_words=False,
                                                 break_on_hyphens=False)
                     for name, text in rows.items())


def _paragraph(text: str) -> str:
    return textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False)


def part_of(cell: Cell) -> str:
    """The name of the folder of a part: the dataset's own part, or else one with its widths."""
    data = cell.data.build()
    part = getattr(data, "part", "A" if data.sigma is None else "B")
    return f"part_{part}_final"
