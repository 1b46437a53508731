"""Smallest images: below a size that depends on the counter, an image is mostly padding.

A counter halves an image a few times, up to one value for each square of `multiple` pixels. Two
such squares along each side are the least that is reasonable. A smaller image is padded when it is
trained on or counted, so it does no harm, but it is hardly what somebody meant to train on.
"""

from pathlib import Path

from benchmark.component_source import class_attribute
from benchmark.data.datasets.base import Dataset, Split
from benchmark.data.image_files import image_size
from benchmark.data.loading import in_threads
from benchmark.registry import names
from benchmark.utils.errors import shown

Sizes = dict[Path, tuple[int, int]]  # (W, H) of images in pixels


def smallest_side(model: str) -> int:
    """Return the smallest side of an image that a counter is made for, in pixels."""
    return 2 * class_attribute("model", model, "multiple")


def smallest_for_all() -> int:
    """Return the smallest side that suits every registered counter, in pixels."""
    return max(map(smallest_side, names("model")))


def image_sizes(dataset: Dataset, split: Split, scale: float) -> Sizes:
    """Return the sizes of the images of a split as they are read. No image is decoded.

    Raises:
        UserError: the split is missing, or an image is broken.
    """
    paths = [item.image for item in dataset.items(split)]
    sizes = in_threads(lambda path: image_size(path, scale, dataset.max_side), paths)
    return dict(zip(paths, sizes))


def describe_small(sizes: Sizes, model: str, crop: float | None = None) -> str | None:
    """Return one line on the images that are too small for a counter; None if there is none.

    crop: the `crop` of the recipe, where views of the images are trained on.
    """
    share = crop if crop is not None and crop < 1 else 1.0
    side = smallest_side(model)
    small = [path for path, size in sizes.items() if int(min(size) * share) < side]
    if not small:
        return None
    width, height = sizes[small[0]]
    crops = f" in crops of {share} of each side" if share != 1 else ""
    more = f" (and {len(small) - 1} more like it)" if len(small) > 1 else ""
    return (f"{shown(small[0])}: read as {width}x{height} pixels{more}: too small for {model}, "
            f"which takes at least {side}x{side}{crops}; it is padded, and better left out")
