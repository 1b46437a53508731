import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

HEADS = np.array([[3.5, 2.0], [7.0, 4.25]])


@pytest.fixture
def heads():
    """Two heads, [2, 2], in images of 16x8 pixels."""
    return HEADS


@pytest.fixture
def a_part(tmp_path):
    """A function that writes a split of 16x8 images in ShanghaiTech's layout and returns its folder."""
    def write(part="part_B_final", split="train_data", truth="ground_truth", numbers=(1, 2, 10), points=HEADS):
        folder = tmp_path / part / split
        (folder / "images").mkdir(parents=True)
        (folder / truth).mkdir()
        info = np.empty((1, 1), object)  # the nesting of the official files: a cell with a struct
        info[0, 0] = {"location": points, "number": len(points)}
        for number in numbers:
            Image.new("RGB", (16, 8)).save(folder / "images" / f"IMG_{number}.jpg")
            savemat(folder / truth / f"GT_IMG_{number}.mat", {"image_info": info})
        return folder
    return write
