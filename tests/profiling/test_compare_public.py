"""Side by side with public loops: a stand-in for their code runs in turns with ours. No time is tested."""

import subprocess

import fidelity_public
import pytest
from compare_public import main, rounds_of

# A stand-in for the public CSRNet, with the names that the script looks for.
STAND_IN = {
    "model.py": """
class CSRNet(nn.Module):
    def __init__(self, load_weights=False):
        super().__init__()
        self.seen = 0
        self.output_layer = nn.Conv2d(3, 1, 8, stride=8)
    def forward(self, x):
        return self.output_layer(x)
""",
    "image.py": """
def load_data(path, train=True):
    target = np.asarray(h5py.File(path.replace('.jpg', '.h5').replace('images', 'ground_truth'))['density'])
    size = (target.shape[1] / 8, target.shape[0] / 8)
    return Image.open(path).convert('RGB'), cv2.resize(target, size, interpolation=cv2.INTER_CUBIC) * 64
""",
    "dataset.py": """
class listDataset(Dataset):
    def __init__(self, root, transform=None, **options):
        self.lines, self.transform = root * 4, transform
    def __len__(self):
        return len(self.lines)
    def __getitem__(self, index):
        image, target = load_data(self.lines[index])
        return self.transform(image), target
""",
    "train.py": """
class AverageMeter:
    pass
def train(train_list, model, criterion, optimizer, epoch):
    assert AverageMeter and len(train_list) == args.batch_size
    data = dataset.listDataset(train_list, transform=transforms.ToTensor())
    for image, target in torch.utils.data.DataLoader(data, batch_size=args.batch_size):
        output = model(Variable(image.cuda()))
        loss = criterion(output, target.type(torch.FloatTensor).unsqueeze(0).cuda())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print('step of', len(data))
"""}


@pytest.fixture
def public(tmp_path, monkeypatch):
    """A folder with a clone of the stand-in, and without one of CLIP-EBC."""
    clone = tmp_path / "leeyeehoo+CSRNet-pytorch"
    clone.mkdir()
    for name, text in STAND_IN.items():
        (clone / name).write_text(text)

    def git(*arguments):
        return subprocess.run(["git", "-c", "user.name=n", "-c", "user.email=e@e", "-C", str(clone), *arguments],
                              check=True, capture_output=True, text=True).stdout.strip()

    git("init")
    git("add", ".")
    git("commit", "-m", "stand-in")
    monkeypatch.setitem(fidelity_public.COMMITS, "leeyeehoo/CSRNet-pytorch", git("rev-parse", "HEAD"))
    return tmp_path


def test_the_loops_take_turns_and_the_median_ratio_is_printed():
    order = []

    def probe(name, seconds):
        left = iter(seconds)
        return lambda: order.append(name) or next(left)

    rows = rounds_of("loop", probe("ours", [1.0, 2.0, 1.0]), probe("public", [3.0, 2.0, 8.0]), 3)
    assert order == ["ours", "public"] * 3
    assert [row[-1] for row in rows] == ["3.00", "1.00", "8.00", "3.00"] and rows[-1][1] == "median"


@pytest.mark.slow
def test_a_public_loop_runs_beside_ours_and_a_missing_one_is_named(public, capsys):
    main(["--public", str(public), "--size", "64x48", "--rounds", "2", "--precision", "fp32"])
    printed = capsys.readouterr()
    rows = [line for line in printed.out.splitlines() if line.startswith("| csrnet, 64x48")]
    assert len(rows) == 3 and "median" in rows[-1]
    assert "step of" not in printed.out
    assert "missing: https://github.com/Yiming-M/CLIP-EBC (there is no clone)" in printed.err


def test_without_any_clone_there_is_no_table(tmp_path, capsys):
    assert main(["--public", str(tmp_path)]) == 2
    printed = capsys.readouterr()
    assert not printed.out and printed.err.count("missing: ") == 2
