"""Parts of defenses, on the same random counters, images and features."""

from types import SimpleNamespace

import numpy as np
import torch
from fidelity_networks import randomised
from fidelity_public import Clone, Pairs, compare, print_nothing
from torch import Tensor, nn

from benchmark.data.batches import Batch
from benchmark.registry import build
from models.base import Counter

SIDE = 64  # of an image, in pixels
HEADS = 5
RHO = 0.5


def random_counter() -> Counter:
    """A small counter with BatchNorm, with random weights."""
    return randomised(build("model", "tiny", {"width": 16}))


def random_batch(heads: int = HEADS) -> Batch:
    """Two random images with random heads."""
    points = [torch.rand(heads, 2) * SIDE for _ in range(2)]
    return Batch(torch.rand(2, 3, SIDE, SIDE), points, [torch.full((heads,), 4.0)] * 2)


def random_features(images: int = 60, channels: int = 20) -> np.ndarray:
    """Random features of which a fifth lie apart, float64 [n, C]."""
    rng = np.random.default_rng(0)
    features = rng.standard_normal((images, channels))
    features[: images // 5] += 4
    return features + 10  # far from 0, so that centring matters


@compare("defense", "nad", "attention maps of two images and the mean squared distance of two such "
         "maps", "bboylyg/NAD")
def nad(clone: Clone) -> Pairs:
    from defenses.nad import attention, distance

    student, teacher = torch.randn(2, 2, 16, 12, 20)
    original = clone.load("at.py").AT(2)
    yield attention(student), original.attention_map(student).flatten(1)
    places = student.shape[-1] * student.shape[-2]  # ours is a sum over them
    yield distance(student, teacher).mean()[None] / places, original(student, teacher)[None]


@compare("defense", "clp", "which channels of a counter are pruned at u = 1 (0 or 1 each)",
         "rkteddy/channel-Lipschitzness-based-pruning")
def clp(clone: Clone) -> Pairs:
    from defenses.clp import outliers

    counter = random_counter()
    ours = outliers(counter, 1.0)
    pruned = counter.copy()
    clone.load("defense.py", print=print_nothing).CLP(pruned, 1.0)
    for layer, channels in ours.items():
        before, after = (network.get_submodule(layer.norm).weight for network in (counter, pruned))
        yield channels.float(), ((before != 0) & (after == 0)).float()


@compare("defense", "anp", "loss of a counter with given masks and perturbations, and its gradient "
         "in the masks; our loss in both", "csdongxian/ANP_backdoor")
def anp(clone: Clone) -> Pairs:
    from defenses.anp import Neurons

    counter = random_counter().requires_grad_(False)
    batch = random_batch()
    neurons = Neurons(counter)
    masks = [torch.rand(size, requires_grad=True) for size in neurons.sizes]
    shifts = [torch.rand(size) * 0.8 - 0.4 for size in [*neurons.sizes, *neurons.sizes]]
    factors = [*masks, *(torch.ones(size) for size in neurons.sizes)]
    ours = neurons.loss(batch, list(map(torch.add, factors, shifts)))
    noisy = counter.copy()
    public = clone.load("models/anp_batchnorm.py", Parameter=nn.Parameter, init=nn.init)
    names = [layer.norm for layer in neurons.layers]
    weights, biases = shifts[: len(masks)], shifts[len(masks) :]
    norms = [put_noisy_norm(noisy, name, public.NoisyBatchNorm2d, mask.detach(), weight, bias)
             for name, mask, weight, bias in zip(names, masks, weights, biases)]
    original = Neurons(noisy)(batch)
    yield ours[None], original[None]
    theirs = torch.autograd.grad(original, [norm.neuron_mask for norm in norms])
    yield from zip(torch.autograd.grad(ours, masks), theirs)


@torch.no_grad()
def put_noisy_norm(counter: Counter, name: str, kind: type[nn.Module], mask: Tensor,
                   weight: Tensor, bias: Tensor) -> nn.Module:
    """Put a public BatchNorm with a mask and perturbations in the place of one of a counter."""
    norm = counter.get_submodule(name)
    noisy = kind(norm.num_features, norm.eps).eval()
    noisy.load_state_dict(norm.state_dict(), strict=False)
    noisy.neuron_mask.copy_(mask)
    noisy.neuron_noise.copy_(weight)
    noisy.neuron_noise_bias.copy_(bias)
    noisy.include_noise()
    parent, _, last = name.rpartition(".")
    setattr(counter.get_submodule(parent), last, noisy)
    return noisy


@compare("defense", "ft_sam", "gradient of the loss at the neighbouring weights, of all weights",
         "SCLBD/BackdoorBench")
def ft_sam(clone: Clone) -> Pairs:
    from defenses.ft_sam import worst_nearby

    counter, batch = random_counter().requires_grad_(), random_batch()
    worst_nearby(counter, batch, RHO).mean().backward()
    moved = counter.copy()
    moved.zero_grad()
    sam = clone.load("utils/defense_utils/sam/sam.py", "SAM", ReduceOp=torch.distributed.ReduceOp)
    optimizer = sam.SAM(moved.parameters(), torch.optim.SGD(moved.parameters(), lr=1), moved, 0,
                        SimpleNamespace(step=lambda: RHO), adaptive=True)
    moved.loss(batch).mean().backward()
    optimizer.perturb_weights(rho=RHO)
    moved.zero_grad()
    moved.loss(batch).mean().backward()
    for ours, original in zip(counter.parameters(), moved.parameters()):
        yield ours.grad, original.grad


@compare("defense", "spectral", "scores of 60 random features, from the eigenvectors of their "
         "covariance", original="Tran et al., NeurIPS 2018, algorithm 1")
def spectral() -> Pairs:
    from defenses.spectral import spectral as scores

    features = random_features()
    main = np.linalg.eigh(np.cov(features.T))[1][:, -1]  # eigenvalues ascend
    original = (features - features.mean(axis=0)) @ main
    yield torch.from_numpy(scores(features)), torch.from_numpy(original**2)


@compare("defense", "activation_clustering", "magnitudes of the principal components of 60 random "
         "features, and which of them are in the smaller cluster (0 or 1 each)",
         "SCLBD/BackdoorBench")
def activation_clustering(clone: Clone) -> Pairs:
    from sklearn.cluster import KMeans

    from defenses.activation_clustering import components, signed_silhouettes

    features = random_features()
    public = clone.load("defense/ac.py", "cluster_activations", "reduce_dimensionality",
                        KMeans=lambda n_clusters: KMeans(n_clusters, random_state=0))
    reduced = public.reduce_dimensionality(features, 10, "PCA")
    yield torch.from_numpy(components(features, 10)).abs(), torch.from_numpy(reduced).abs()
    clusters = public.cluster_activations([reduced])[0][0]
    smaller = clusters == np.bincount(clusters).argmin()
    silhouettes = torch.from_numpy(signed_silhouettes(features, 10))
    yield (silhouettes > 0).float(), torch.from_numpy(smaller).float()


@compare("defense", "shrink_pad", "pixels of a square image in 0..1, at the one of all places that "
         "fits ours best", "THUYimingLi/BackdoorBox")
def shrink_pad(clone: Clone) -> Pairs:
    from torchvision import transforms

    images, pixels = torch.rand(1, 3, SIDE, SIDE), SIDE // 8
    public = clone.load("core/defenses/ShrinkPad.py", "RandomPad", "build_ShrinkPad",
                        transforms=transforms)
    shrink, place = public.build_ShrinkPad(SIDE, pixels).transforms
    ours = build("defense", "shrink_pad", {"shrink": 0.125}).change(images)
    places = [pad(shrink(images)) for pad in place.transforms]
    yield ours, min(places, key=lambda padded: float((padded - ours).abs().max()))


@compare("defense", "abl", "change of all weights by a step of local gradient ascent, with a "
         "loss above and one below gamma; images without heads, so that no count divides the loss",
         "bboylyg/ABL")
def abl(clone: Clone) -> Pairs:
    from defenses.abl import local_ascent

    public = clone.load("utils/util.py", "AverageMeter")
    steps = clone.load("backdoor_isolation.py", "train_step", AverageMeter=public.AverageMeter,
                       accuracy=lambda *_, **__: [torch.zeros(1)] * 2)
    batch = random_batch(heads=0)
    start = random_counter().train()
    for share in (0.5, 2.0):
        ours, original = start.copy(), start.copy()
        gamma = share * float(start.copy().loss(batch).mean())
        optimizers = [torch.optim.SGD(counter.parameters(), lr=1) for counter in (ours, original)]
        local_ascent(gamma)(ours, batch).mean().backward()
        optimizers[0].step()
        options = SimpleNamespace(cuda=False, gradient_ascent_type="LGA", gamma=gamma, print_freq=9)
        steps.train_step(options, [(batch.images, None)], original, optimizers[1],
                         lambda density, _: density.square().sum(dim=(1, 2, 3)).mean(), 0)
        for before, *after in zip(*(counter.parameters() for counter in (start, ours, original))):
            yield after[0] - before, after[1] - before
